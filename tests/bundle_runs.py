"""Runs of the bundles, in this process and from the command line, for the tests."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from conftest import REPO, run_module
from monai.bundle import ConfigWorkflow


def bundle_of(name: str) -> Path:
    """The folder of a shipped bundle, such as "oct_classification"."""
    return REPO / "bundles" / f"{name}_ima"


def copy_bundle(name: str, folder: Path) -> Path:
    """A copy of a bundle without weights."""
    return shutil.copytree(bundle_of(name), folder, ignore=shutil.ignore_patterns("*.pt", "eval"))


def open_config(root: Path, files: Sequence[str], out: Path, **settings: object) -> ConfigWorkflow:
    """Configs of a bundle, of a training if the first is train.json, that write to a folder only."""
    kind = "train" if files[0] == "train.json" else "infer"
    return ConfigWorkflow(
        config_file=[str(root / "configs" / file) for file in files],
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(root),
        output_dir=str(out),
        **{**({"ckpt_dir": str(out / "models")} if kind == "train" else {}), **settings},
    )


def run_config(built: ConfigWorkflow) -> ConfigWorkflow:
    """Initialise and run."""
    built.initialize()
    built.run()
    return built


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings as options of a command line."""
    return [part for key, value in settings.items() for part in (f"--{key}", json.dumps(value))]


def monai_bundle(verb: str, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle``"""
    return run_module("monai.bundle", verb, *arguments, *options(settings))


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with open(file, newline="") as content:
        return list(csv.DictReader(content))


def read_metrics(file: Path) -> dict[str, float]:
    """Names and values of a metrics.csv."""
    with open(file, newline="") as content:
        return {row[0]: float(row[1]) for row in csv.reader(content) if len(row) == 2}
