"""The sections of a report that are about training: margins, and what was logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_ima.margins import MarginSummary, MarginTable
from monai_ima.results.pixel_size import PixelSize
from monai_ima.utils.plain_numbers import counted, plain_number

from .blocks import Block, Figures, Table, Text
from .charts import LINES_A_CHART, Histogram, Line, LineChart
from .logs import Scalars
from .scalars import scalar_words
from .wording import epsilon, level, level_cells, level_header, sized

__all__ = ["Margins", "curves", "margin_findings"]

POINTS = 200


@dataclass(frozen=True)
class Margins:
    """A margin table with its summary and the checkpoint it comes from.

    Example:
        >>> from monai_ima.margins import summarize_margins
        >>> table = MarginTable(eps_max=1.0, delta=0.25)
        >>> table.register(["a", "b"])
        >>> Margins(Path("model_last.pt"), table, summarize_margins(table)).summary.mean
        0.25
    """

    checkpoint: Path
    table: MarginTable
    summary: MarginSummary


def margin_findings(margins: Margins) -> Iterator[Block]:
    """The margins that IMA training found, and what they say about ε."""
    table, summary = margins.table, margins.summary
    size = PixelSize.of(table.norm, table.image_values, measured=table.perturbation)
    yield Text(
        f"IMA training gave each of {counted(summary.count, 'training sample')} its own ε, its margin, between δ = "
        f"{sized(table.delta, size)} and ε_max = {sized(table.eps_max, size)}. {100 * summary.at_delta:.1f} % of the "
        f"margins lie at δ (misclassified, or next to the boundary), {100 * summary.at_eps_max:.1f} % at ε_max. Read "
        f"from {margins.checkpoint}."
    )
    histogram = Histogram(
        "Margins of the training samples",
        "margin ε" + (f": {table.perturbation}" if table.perturbation else ""),
        "training samples",
        table.values().tolist(),
        table.eps_max,
        (summary.suggested_eps, f"median {level(summary.suggested_eps)}"),
        second=size.scale,
    )
    rows = [[f"{quantile:.0%}", *level_cells(value, size)] for quantile, value in summary.quantiles.items()]
    rows.append(["mean", *level_cells(summary.mean, size)])
    header = ["margins at or below", *level_header(size)]
    quantiles = Table(f"Quantiles of the margins (n = {summary.count})", header, rows)
    yield Figures([histogram], quantiles)
    yield Text(
        f"For training with one fixed ε, the median is a start: {epsilon(summary.suggested_eps, size)}. Half of the "
        "training samples have a boundary nearer than that."
    )
    yield Text(
        "ε_max trades clean accuracy for robustness: as ε_max grows, clean accuracy falls and robustness rises. Train "
        "with several values and take the largest ε_max whose clean validation accuracy is still acceptable."
    )


def curves(folder: str | Path, runs: Mapping[str, Scalars]) -> Iterator[Block]:
    """What training logged.

    Args:
        folder: where the logs were found.
        runs: scalars by run.
    """
    lines = {
        (f"{run}: {tag}" if len(runs) > 1 else tag): points
        for run, scalars in runs.items()
        for tag, points in scalars.items()
    }
    long = any(len(points) > POINTS for points in lines.values())
    thinned = " Each point of a long curve is the mean of its neighbours." if long else ""
    yield Text(
        f"Scalars from the TensorBoard files in {folder}. MONAI logs scores and margins once an epoch, the training "
        f"loss once an iteration.{thinned}"
    )
    charts = []
    for title, y_label in CHARTS:
        tags = [tag for tag in lines if _kind(tag) == (title, y_label)]
        for k in range(0, len(tags), LINES_A_CHART):
            part = [_line(tag, lines[tag]) for tag in tags[k : k + LINES_A_CHART]]
            bounded = y_label in ("score", "share") and all(
                0 <= y <= 1 for line in part for y in line.y if y is not None
            )
            charts.append(LineChart(title, "step", y_label, part, share=bounded, whole=True))
    rows = []
    for tag, points in lines.items():
        values = [value for _, value in points]
        shown = [plain_number(value) for value in (values[0], values[-1], min(values), max(values))]
        words = _named(tag)
        rows.append([words if words == tag else f"{words} ({_scalar(tag)})", str(len(points)), *shown])
    header = ["scalar", "values", "first", "last", "lowest", "highest"]
    yield Figures(charts, Table("Logged scalars", header, rows))


MARGINS, SHARES = ("Mean margin", "margin ε"), ("Shares of the training samples", "share")
SCORES, LOSS = ("Scores", "score"), ("Training loss", "loss")
PARTS, OTHER = ("Parts of the loss", "loss"), ("Other scalars", "value")
CHARTS = [MARGINS, SHARES, SCORES, LOSS, PARTS, OTHER]
"""Title and y-label, in this order; every tag is in one of them."""


def _scalar(tag: str) -> str:
    """The scalar's own name, without the run's."""
    return tag.rsplit(": ", 1)[-1]


def _named(tag: str) -> str:
    """In words where they are known, after the run's name."""
    name = _scalar(tag)
    return tag.removesuffix(name) + (scalar_words(name) or name)


def _kind(tag: str) -> tuple[str, str]:
    name = _scalar(tag)
    if name.endswith("margin_mean"):
        return MARGINS
    if name.endswith("_fraction"):
        return SHARES
    if "loss" in name:
        return PARTS if "/" in name else LOSS
    return OTHER if "/" in name else SCORES


def _line(tag: str, points: Sequence[tuple[int, float]]) -> Line:
    """A line of at most :data:`POINTS` points."""
    size = -(-len(points) // POINTS)
    parts = [points[k : k + size] for k in range(0, len(points), size)]
    return Line(
        _named(tag),
        [sum(step for step, _ in part) / len(part) for part in parts],
        [sum(value for _, value in part) / len(part) for part in parts],
    )
