"""The search for ε_max: the largest one whose short hardened training keeps the clean validation metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.utils import set_determinism

from .overlay import SECTION, make_overlay
from .plan import Plan, make_plan
from .reading import readable
from .trial import run_shortened, written_elsewhere

__all__ = ["SEARCH_EPOCHS", "Tried", "check_searchable", "largest_kept", "search", "search_file", "search_table"]

SEARCH_EPOCHS = 2
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of the ε_max that was given, in the order in which they are tried."""
SEED = 0
KEPT = "EMAHandler"
"""The one kind of the trainer's own handlers that changes which weights are validated."""


@dataclass(frozen=True)
class Tried:
    """One short training.

    Attributes:
        eps_max: that it was hardened with; 0 for the plain one.
        metric: clean validation metric after it.
        loss: how much less that is than the plain training's.
    """

    eps_max: float
    metric: float
    loss: float


def check_searchable(plan: Plan) -> None:
    """Refuse a search that has nothing to start from or to measure.

    Raises:
        ValueError: if the plan has no trained weights, or its bundle no evaluator with a key metric.
    """
    if plan.pretrained is None:
        raise ValueError(
            "Option --max_clean_loss searches from trained weights, expected BUNDLE/models/model.pt or --pretrained "
            "FILE."
        )
    if plan.parts.key_metric is None:
        raise ValueError(
            "Got max_clean_loss, expected a bundle with an evaluator that has a key metric (key_val_metric)."
        )


def search(plan: Plan, max_loss: float, epochs: int, overrides: Mapping[str, Any]) -> Iterator[Tried]:
    """Train on plainly, then hardened with the plan's ε_max, a half, a quarter and an eighth of it. **Runs its code.**

    Every training starts from the plan's weights, with one seed and without the trainer's own handlers. The first whose
    loss of clean metric is at most ``max_loss`` is the last that is tried: its ε_max is the largest.

    Args:
        plan: of the hardening.
        max_loss: of the clean metric.
        epochs: of each training, >= 1.
        overrides: values of config ids, such as where the data are.

    Raises:
        ValueError: if a training fails, or the plain one has no finite metric.
    """
    check_searchable(plan)
    plain = _metric(plan, epochs, overrides, hardened=False)
    if not math.isfinite(plain):
        raise ValueError(f"The clean metric of {plan.parts.config.root} is {plain}, expected a finite number.")
    yield Tried(0.0, plain, 0.0)
    for share in SHARES:
        candidate = make_plan(plan.parts, replace(plan.settings, eps_max=plan.eps_max * share))
        metric = _metric(candidate, epochs, overrides, hardened=True)
        tried = Tried(candidate.eps_max, metric, plain - metric)
        yield tried
        if tried.loss <= max_loss:
            return


def largest_kept(tried: Sequence[Tried], max_loss: float) -> float | None:
    """The largest ε_max > 0 whose loss is at most ``max_loss``; None without one.

    Example:
        >>> largest_kept([Tried(0.0, 0.9, 0.0), Tried(0.1, 0.7, 0.2), Tried(0.05, 0.89, 0.01)], 0.05)
        0.05
    """
    return max((one.eps_max for one in tried if one.eps_max > 0 and one.loss <= max_loss), default=None)


def search_file(plan: Plan) -> Path:
    """Where the table of what was tried is written to, beside the overlay."""
    return plan.overlay_file.with_name(f"{plan.overlay_file.stem}_search.csv")


def search_table(tried: Sequence[Tried]) -> list[list[str]]:
    """Header and rows of what was tried.

    Example:
        >>> search_table([Tried(0.1, 0.875, 0.025)])
        [['eps_max', 'clean_metric', 'loss'], ['0.1', '0.875', '0.025']]
    """
    return [["eps_max", "clean_metric", "loss"], *([f"{v:.6g}" for v in vars(one).values()] for one in tried)]


def _metric(plan: Plan, epochs: int, overrides: Mapping[str, Any], hardened: bool) -> float:
    overlay = make_overlay(plan)
    set_determinism(SEED)
    try:
        shorten = partial(_shortened, plan, overlay, epochs, hardened)
        return run_shortened(
            plan, overlay, overrides, shorten, partial(_train_and_validate, plan), "search for eps_max"
        )
    finally:
        set_determinism(None)


def _shortened(plan: Plan, overlay: Mapping[str, Any], epochs: int, hardened: bool, folder: str) -> dict[str, Any]:
    """Overrides that leave the training's epochs to the search, and no handler but those of the method."""
    parts = plan.parts
    assert parts.evaluator is not None
    trainer = readable(parts.trainer.id)
    kept = [f"@{readable(part.id)}" for part in parts.config.components(parts.trainer.id) if part.name == KEPT]
    before = overlay[f"{trainer}#handlers_before"] if hardened else []
    return {
        f"{trainer}#max_epochs": epochs,
        f"{trainer}#train_handlers": kept or None,
        f"{trainer}#handlers_before": before,
        f"{trainer}#handlers_after": [f"@{SECTION}#start"],
        f"{readable(parts.evaluator.id)}#val_handlers": None,
        **written_elsewhere(plan, folder),
    }


def _train_and_validate(plan: Plan, parser: ConfigParser) -> float:
    assert plan.parts.evaluator is not None
    parser.get_parsed_content(plan.parts.trainer.id).run()
    evaluator = parser.get_parsed_content(plan.parts.evaluator.id)
    evaluator.run()
    return float(evaluator.state.metrics[evaluator.state.key_metric_name])
