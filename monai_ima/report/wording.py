"""How numbers, ε and attacks are written in a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from monai_ima.results.pixel_size import PixelSize
from monai_ima.results.schema import ClassificationResults, Results
from monai_ima.utils.attack_names import AttackName
from monai_ima.utils.plain_numbers import counted, plain_number

from .blocks import Table

__all__ = [
    "CASES",
    "INTERVALS",
    "NORMS",
    "NOTHING",
    "attack_list",
    "attack_words",
    "attacked",
    "axis",
    "capitalised",
    "common_size",
    "counted_samples",
    "epsilon",
    "epsilon_described",
    "level",
    "level_cells",
    "level_header",
    "level_table",
    "metric_name",
    "names_in_words",
    "p_value",
    "score",
    "score_at",
    "score_cell",
    "signed",
    "sized",
    "under",
    "with_intervals",
]

CASES = {"worst": "worst case", "average": "average case", "torchio": "TorchIO"}
"""Of perturbations with parameters, in words."""
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


def counted_samples(results: Results) -> str:
    """How many samples, and of how many patients where that is known."""
    data = results.data
    samples = f"{counted(data.samples, 'SYNTHETIC sample' if data.synthetic else 'sample')}"
    return samples if data.patients is None else f"{samples} of {counted(data.patients, 'patient')}"


def score(value: float | None, digits: int = 3) -> str:
    """A score, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def score_cell(value: float | None, ends: tuple[float, float] | None = None) -> str:
    """A score, with its interval in brackets where there is one."""
    return score(value) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def score_at(results: Results, k: int) -> str:
    """The score at a level under all attacks, with its interval in brackets."""
    return score_cell(results.strongest.values[k], results.strongest.intervals[k])


def with_intervals(intervals: Iterable[object]) -> str:
    """``, with 95 % intervals`` where at least one is known (not None); else nothing."""
    return f", with {INTERVALS}" if any(ends is not None for ends in intervals) else ""


def attacked(results: Results) -> bool:
    """An ε above 0 was measured."""
    return results.levels[-1] > 0


def under(attacks: str, *models: Results) -> str:
    """``under all attacks``; ``without an attack`` where no model was measured at an ε above 0."""
    return f"under {attacks}" if any(map(attacked, models)) else "without an attack"


def signed(value: float) -> str:
    """A difference of scores."""
    return f"{value:+.3f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value, or a dash."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def common_size(models: Sequence[Results]) -> PixelSize:
    """What ε is worth in a pixel where that is the same for all models; else a size that says nothing of it."""
    sizes = {one.pixel_size for one in models}
    return sizes.pop() if len(sizes) == 1 else PixelSize(models[0].norm)


def level(value: float) -> str:
    """An ε, without needless digits."""
    return plain_number(value)


def sized(value: float, size: PixelSize) -> str:
    """``1 (0.5 HU a pixel, RMS)``; a line may break before the bracket."""
    text = re.sub(r"(?<=\d) ", "\u00a0", size.text(value))
    return level(value) + (f" ({text})" if text else "")


def epsilon(value: float, size: PixelSize) -> str:
    """``ε = 1 (0.5 HU a pixel, RMS)``."""
    return f"ε\u00a0=\u00a0{sized(value, size)}"


def epsilon_described(value: float, size: PixelSize) -> str:
    """``ε = 0.02 (at most 2 % of the intensity range a pixel, 5.1 of 255 grey levels)``."""
    text = re.sub(r"(?<=\d) ", "\u00a0", size.described(value))
    return f"ε\u00a0=\u00a0{level(value)}" + (f" ({text})" if text else "")


def level_header(size: PixelSize) -> list[str]:
    """Heads of the columns that name an ε."""
    return ["ε"] if size.factor is None else ["ε", size.name]


def level_cells(value: float, size: PixelSize) -> list[str]:
    """Cells of the columns that name an ε."""
    return [level(value)] if size.factor is None else [level(value), size.number(value)]


def level_table(
    caption: str, levels: Sequence[float], size: PixelSize, columns: Sequence[tuple[str, Sequence[str]]]
) -> Table:
    """A table with a row for each ε; a column has a name and one cell a row."""
    header = [*level_header(size), *(name for name, _ in columns)]
    rows = [[*level_cells(value, size), *(cells[k] for _, cells in columns)] for k, value in enumerate(levels)]
    return Table(caption, header, rows)


def attack_list(names: Sequence[str], metric: str) -> str:
    """Several attacks in words."""
    return "; ".join(attack_words(name, metric) for name in names)


def names_in_words(text: str, metric: str) -> str:
    """A text with the names of attacks in it, joined by + where they are several, in words."""

    def in_words(found: re.Match[str]) -> str:
        names = found[0].split("+")
        return attack_list(names, metric) if all(attack_words(name, metric) != name for name in names) else found[0]

    return re.sub(r"(?<![/\w.])[\w+-]+(?![/\w])", in_words, text)


def axis(size: PixelSize) -> str:
    """Label of an axis of ε."""
    if size.norm == "linf" and size.units is None:
        return f"perturbation ε ({NORMS['linf']}: the most a {size.element} changes)"
    return f"perturbation ε ({NORMS[size.norm]}{', network’s units' if size.units else ' norm'})"


def attack_words(name: str, metric: str) -> str:
    """The short name of an attack on what this metric measures, in words; the name itself where it is not known."""
    if name == MINIMUM:
        return "the search for each sample’s smallest perturbation"
    try:
        return AttackName.parse(name).describe(segmentation=metric == "dice")
    except ValueError:
        return name
