"""How numbers, ε and attacks are written in a report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from monai_ima.results.schema import AttackCurve, Results, Units

__all__ = [
    "INTERVALS",
    "NOTHING",
    "attack_words",
    "axis",
    "clean_index",
    "epsilon",
    "interval",
    "level",
    "level_cells",
    "level_header",
    "metric_word",
    "middle_index",
    "norm_word",
    "score",
    "score_at",
    "score_cell",
    "second_axis",
    "share",
]

NOTHING = "–"
INTERVALS = "95 % bootstrap intervals"
NORMS = {"l2": "L2", "linf": "L∞"}
METRICS = {"accuracy": "accuracy", "dice": "Dice"}
FAMILIES = {
    "pgd": "projected gradient descent",
    "apgd": "Auto-PGD",
    "ifgsm": "iterative fast gradient sign method",
    "fgsm": "fast gradient sign method",
    "ddn": "decoupled direction and norm",
    "spsa": "SPSA, without gradients",
    "noise": "uniform random noise",
}
MINIMUM = "minimum"
OBJECTIVES = {
    "accuracy": {"dlr": "difference of logits ratio", "ce": "the soft logit margin"},
    "dice": {"ce": "cross-entropy", "dice": "soft Dice"},
}
"""Attack objectives by metric; of classifiers ``ce`` has cross-entropy's direction only."""
ATTACK = re.compile(r"(a?pgd|i?fgsm|ddn|spsa|noise)(\d+)?(?:x(\d+))?(?:-(dlr|ce|dice))?")


def norm_word(norm: str) -> str:
    """``l2`` as L2, ``linf`` as L∞."""
    return NORMS[norm]


def metric_word(metric: str) -> str:
    """A metric's name within a sentence."""
    return METRICS[metric]


def score(value: float | None, digits: int = 3) -> str:
    """A score, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def interval(ends: tuple[float, float] | None) -> str:
    """An interval's ends, or nothing."""
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def score_cell(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """A score, with its interval in brackets where there is one."""
    return score(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def score_at(curve: AttackCurve, k: int) -> str:
    """The score at a level, with its interval in brackets."""
    return score_cell(curve.values[k], curve.intervals[k])


def share(value: float) -> str:
    """A share of 0..1 in per cent."""
    return f"{100 * value:.1f} %"


def level(value: float) -> str:
    """An ε, without needless digits."""
    return f"{value:.4g}"


def epsilon(value: float, units: Units | None) -> str:
    """``ε = 1 (20 HU)``; a line may break before the bracket."""
    physical = f" ({value * units.per_unit:.4g}\u00a0{units.name})" if units else ""
    return f"ε\u00a0=\u00a0{level(value)}{physical}"


def level_header(units: Units | None) -> list[str]:
    """Heads of the columns that name an ε."""
    return ["ε", f"ε\u00a0in\u00a0{units.name}"] if units else ["ε"]


def level_cells(value: float, units: Units | None) -> list[str]:
    """Cells of the columns that name an ε."""
    return [level(value), f"{value * units.per_unit:.4g}"] if units else [level(value)]


def axis(norm: str, units: Units | None) -> str:
    """Label of an axis of ε."""
    return f"perturbation ε ({norm_word(norm)}{', network’s units' if units else ' norm'})"


def second_axis(units: Units | None) -> tuple[str, float] | None:
    """The second scale of an axis of ε."""
    return (f"ε in {units.name}", units.per_unit) if units else None


def clean_index(results: Results) -> int | None:
    """Which of the levels is 0, the clean one."""
    return 0 if results.levels[0] == 0 else None


def middle_index(levels: Sequence[float]) -> int | None:
    """Which level is in the middle of those above 0 (the lower one of two); None if there is none."""
    above = [k for k, value in enumerate(levels) if value > 0]
    return above[(len(above) - 1) // 2] if above else None


def attack_words(name: str, metric: str) -> str:
    """The short name of an attack on what this metric measures, in words; the name itself where it is not known."""
    if name == MINIMUM:
        return "the search for each sample’s smallest perturbation"
    found = ATTACK.fullmatch(name)
    if found is None:
        return name
    family, steps, times, loss = found.groups()
    if loss and loss not in OBJECTIVES[metric]:
        return name
    words = FAMILIES[family]
    if steps:
        words += f", {steps} {'draws' if family == 'noise' else 'steps'}"
    if times:
        words += f", {times} {'directions a step' if family == 'spsa' else 'restarts'}"
    return words + (f", on {OBJECTIVES[metric][loss]}" if loss else "")
