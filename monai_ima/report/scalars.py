"""What logged scalars are called in words."""

from __future__ import annotations

import re

__all__ = ["scalar_words"]

METHODS = {name.lower(): name for name in ("IMA", "PGD", "TRADES", "DDN", "IAAT", "MMA")}
OF_METHODS = {
    "loss_clean": "loss on clean samples",
    "loss_noisy": "loss on perturbed samples",
    "loss_robust": "divergence under attack",
    "loss_margin": "loss at the margins",
    "correct_fraction": "correct clean samples",
    "boundary_fraction": "attacked samples that broke",
    "found_fraction": "samples that an attack broke",
    "margin_mean": "mean margin",
    "margin_max_fraction": "margins at ε_max",
    "distance_mean": "mean size of perturbations",
}
"""Scalars of the training methods, whose name stands before a slash."""

DATA = {"train": "training", "val": "validation"}
METRICS = {"loss": "loss", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "mean_dice": "mean Dice"}
SCORED = re.compile(rf"({'|'.join(DATA)})_(robust_)?({'|'.join(METRICS)})")


def scalar_words(tag: str) -> str | None:
    """What a scalar is of, short enough for a legend; None where its tag is not one of this package.

    Example:
        >>> scalar_words("val_robust_accuracy"), scalar_words("ima/margin_mean"), scalar_words("lr")
        ('validation accuracy under attack', 'IMA: mean margin', None)
    """
    method, _, name = tag.partition("/")
    if method in METHODS and name in OF_METHODS:
        return f"{METHODS[method]}: {OF_METHODS[name]}"
    found = SCORED.fullmatch(tag)
    if found is None:
        return None
    data, robust, metric = found.groups()
    return f"{DATA[data]} {METRICS[metric]}" + (" under attack" if robust else "")
