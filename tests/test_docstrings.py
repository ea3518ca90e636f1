"""The examples in docstrings run, and every public class has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch

import monai_ima

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(monai_ima.__path__, "monai_ima.") if not name.endswith("__main__")
)
COVERED = [
    *("attacks", "criteria", "data", "engines", "evaluation", "handlers", "inferers", "losses", "margins", "methods"),
    *("networks", "nnunet", "perturbations", "report", "transforms", "visualize"),
]
"""Packages that have public classes, which all have an example."""


def examples_of(name: str) -> list[doctest.DocTest]:
    """The docstrings with examples of a module; ``torch`` and ``np`` are imported for them."""
    if name.startswith("monai_ima.nnunet"):
        pytest.importorskip("nnunetv2")
    finder = doctest.DocTestFinder(exclude_empty=True)
    return finder.find(importlib.import_module(name), extraglobs={"torch": torch, "np": np})


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for example in examples_of(name):
        torch.manual_seed(0)
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("package", COVERED)
def test_every_public_class_has_an_example(package):
    if package == "nnunet":
        pytest.importorskip("nnunetv2")
    module = importlib.import_module(f"monai_ima.{package}")
    classes = [value for value in (getattr(module, name) for name in module.__all__) if inspect.isclass(value)]
    assert [c.__name__ for c in classes if ">>> " not in (c.__doc__ or "")] == []


def test_an_example_that_is_wrong_is_found():
    runner = doctest.DocTestRunner(verbose=False)
    example, *_ = [e for e in examples_of("monai_ima.data.phantom") if e.examples]
    example.examples[0].want = "{}\n"
    runner.run(example, out=lambda _: None)
    assert runner.failures == 1
