"""Shortened runs of a hardened training, such as the trial run; they leave nothing in the bundle."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from monai.bundle import ConfigParser

from monai_ima.utils.errors import one_line, root_cause

from .building import quiet_workflow
from .modules import forget_modules, forget_other_bundles
from .overlay import SECTION
from .plan import Plan
from .reading import SEPARATOR, readable

__all__ = ["run_shortened", "run_trial", "written_elsewhere"]

Outcome = TypeVar("Outcome")

ITERATIONS = 2
WRITES = ("save_dir", "cache_dir", "log_dir", "output_dir")
"""Arguments that name folders which components write to."""


def run_trial(plan: Plan, overlay: dict[str, Any], overrides: Mapping[str, Any]) -> str:
    """Train two iterations and validate one batch under attack; returns what was measured. **Runs the bundle's code.**

    The bundle's own handlers are left out, and whatever writes is pointed to a temporary folder.

    Args:
        plan: of the hardening.
        overlay: made from it.
        overrides: values of config ids, such as where the data are.

    Raises:
        ValueError: when something fails.
    """
    return run_shortened(plan, overlay, overrides, partial(_shortened, plan, overlay), partial(_run, plan), "check")


def run_shortened(
    plan: Plan,
    overlay: dict[str, Any],
    overrides: Mapping[str, Any],
    shorten: Callable[[str], dict[str, Any]],
    run: Callable[[ConfigParser], Outcome],
    what: str,
) -> Outcome:
    """Build a hardened training, shortened, and run it. **Runs the bundle's code.**

    Args:
        plan: of the hardening.
        overlay: made from it.
        overrides: values of config ids, such as where the data are.
        shorten: further ones, given a temporary folder to write to.
        run: is called with the config's parser; returns what this function returns.
        what: is run, in errors.

    Raises:
        ValueError: when something fails.
    """
    files = [str(file.resolve()) for file in plan.parts.config.files]
    root = plan.parts.config.root.resolve()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("overlay", overlay), ("shortened", {**overrides, **shorten(folder)})):
            files.append(str(Path(folder) / f"{name}.json"))
            Path(files[-1]).write_text(json.dumps(content), encoding="utf-8")
        with _inside(root), _quietly():
            try:
                return run(_built(files, root))
            except Exception as error:
                missing = _missing_folders(plan, overrides)
                raise ValueError(f"The {what} of {plan.parts.config.root} failed: {_reason(error)}{missing}") from error


def written_elsewhere(plan: Plan, folder: str) -> dict[str, Any]:
    """Overrides that point whatever a training writes to a folder."""
    places = [component.at(name) for component in plan.parts.config.everything() for name in WRITES]
    content = {readable(place): folder for place in places if place in plan.parts.config}
    if "output_dir" in plan.parts.config:
        content["output_dir"] = folder
    return {f"{SECTION}#folder": folder, **content}


def _missing_folders(plan: Plan, overrides: Mapping[str, Any]) -> str:
    """The config's ids that name a folder or file which does not exist, and how to give another."""
    named = {**plan.parts.config.content, **overrides}
    paths = {key: value for key, value in named.items() if isinstance(value, str) and value.startswith("/")}
    gone = [(key, value) for key, value in paths.items() if not Path(value).exists()]
    texts = [f"{key} is {value}, which does not exist: give --{key} PATH" for key, value in gone]
    return f" ({'; '.join(texts)})" if texts else ""


def _shortened(plan: Plan, overlay: dict[str, Any], folder: str) -> dict[str, Any]:
    """Overrides that make the training short and keep it from writing."""
    trainer = readable(plan.parts.trainer.id)
    content: dict[str, Any] = {
        f"{trainer}#max_epochs": 1,
        f"{trainer}#epoch_length": ITERATIONS,
        f"{trainer}#train_handlers": None,
        f"{trainer}#handlers_before": ["@harden#handler"],
        f"{trainer}#handlers_after": ["@harden#start"] if "start" in overlay[SECTION] else [],
        **written_elsewhere(plan, folder),
    }
    if plan.settings.method == "ima":
        content |= {"harden#handler#margin_steps": ITERATIONS, "harden#handler#first_pass": False}
    if plan.threshold == "baseline":
        content["harden#threshold"] = "relative:0.9"
    if plan.parts.evaluator is not None:
        content[f"{readable(plan.parts.evaluator.id)}#val_handlers"] = None
    if plan.robust_validation:
        content["harden#robust_evaluator#epoch_length"] = 1
    return content


def _built(files: list[str], root: Path) -> ConfigParser:
    meta = root / "configs" / "metadata.json"
    workflow = quiet_workflow(files, root, meta_file=str(meta) if meta.is_file() else None)
    workflow.initialize()
    return workflow.parser


def _run(plan: Plan, parser: ConfigParser) -> str:
    trainer = parser.get_parsed_content(plan.parts.trainer.id)
    trainer.run()
    output = trainer.state.output
    loss = float((output[0] if isinstance(output, list) else output)["loss"])
    metrics = {key: value for key, value in trainer.state.metrics.items() if key.startswith(f"{plan.settings.method}/")}
    if not math.isfinite(loss):
        raise ValueError(f"the loss became {loss}, expected a finite number")
    parts = [f"{ITERATIONS} iterations trained, loss {loss:.4g}", *(f"{k} {v:.4g}" for k, v in sorted(metrics.items()))]
    if plan.robust_validation:
        evaluator = parser.get_parsed_content(f"{SECTION}{SEPARATOR}robust_evaluator")
        evaluator.run()
        key = evaluator.state.key_metric_name
        parts.append(f"one batch validated under attack, {key} {evaluator.state.metrics[key]}")
    return "Checked: " + ", ".join(parts) + "."


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[None]:
    """Run in the bundle's folder, with its modules importable; afterwards they are forgotten again."""
    forget_other_bundles(root)
    before, path, bytecode = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    try:
        with contextlib.chdir(root):
            yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        forget_modules(root, set(sys.modules) - before)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Leave out logs, warnings and progress bars; an error is reported once, by the sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    error = root_cause(error)
    text = one_line(error).rstrip(".")
    known = isinstance(error, (ValueError, OSError)) and str(error)
    return f"{text}." if known else f"{type(error).__name__}: {text}."
