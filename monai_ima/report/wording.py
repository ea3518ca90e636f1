"""How numbers, ε and attacks are written in a report."""

from __future__ import annotations

from collections.abc import Sequence

from monai_ima.results.parts import Units
from monai_ima.results.schema import ClassificationResults, Results
from monai_ima.utils.attack_names import AttackName

from .blocks import Table

__all__ = [
    "INTERVALS",
    "NORMS",
    "NOTHING",
    "attack_words",
    "axis",
    "capitalised",
    "epsilon",
    "level",
    "level_cells",
    "level_header",
    "level_table",
    "metric_name",
    "score",
    "score_at",
    "score_cell",
    "second_axis",
]

NOTHING = "–"
INTERVALS = "95 % intervals"
NORMS = {"l2": "L2", "linf": "L∞"}
MINIMUM = "minimum"


def capitalised(text: str) -> str:
    """A text as a sentence begins."""
    return text[0].upper() + text[1:]


def metric_name(results: Results) -> str:
    """What the score is called within a sentence."""
    if isinstance(results, ClassificationResults):
        return "exact-match accuracy" if results.multi_label else "accuracy"
    return "Dice"


def score(value: float | None, digits: int = 3) -> str:
    """A score, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def score_cell(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """A score, with its interval in brackets where there is one."""
    return score(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def score_at(results: Results, k: int) -> str:
    """The score at a level under all attacks, with its interval in brackets."""
    return score_cell(results.strongest.values[k], results.strongest.intervals[k])


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


def level_table(
    caption: str, levels: Sequence[float], units: Units | None, columns: Sequence[tuple[str, Sequence[str]]]
) -> Table:
    """A table with a row for each ε; a column has a name and one cell a row."""
    header = [*level_header(units), *(name for name, _ in columns)]
    rows = [[*level_cells(value, units), *(cells[k] for _, cells in columns)] for k, value in enumerate(levels)]
    return Table(caption, header, rows)


def axis(norm: str, units: Units | None) -> str:
    """Label of an axis of ε."""
    return f"perturbation ε ({NORMS[norm]}{', network’s units' if units else ' norm'})"


def second_axis(units: Units | None) -> tuple[str, float] | None:
    """The second scale of an axis of ε."""
    return (f"ε in {units.name}", units.per_unit) if units else None


def attack_words(name: str, metric: str) -> str:
    """The short name of an attack on what this metric measures, in words; the name itself where it is not known."""
    if name == MINIMUM:
        return "the search for each sample’s smallest perturbation"
    try:
        return AttackName.parse(name).describe(segmentation=metric == "dice")
    except ValueError:
        return name
