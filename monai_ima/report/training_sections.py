"""The sections of a report that are about training: margins, and what was logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from monai_ima.margins import MarginSummary, MarginTable

from .blocks import Block, Figures, Section, Table, Text
from .charts import Histogram, Line, LineChart
from .logs import Scalars
from .wording import level, share

__all__ = ["curves_section", "margins_section"]

POINTS = 200
LINES_A_CHART = 6


def margins_section(checkpoint: str | Path, table: MarginTable, summary: MarginSummary) -> Section:
    """The margins that IMA training found, and what they say about ε.

    Args:
        checkpoint: where they come from.
        table: one margin a training sample.
        summary: of the table.
    """
    return Section("margins", "Margins of the training samples", list(_margins(checkpoint, table, summary)))


def _margins(checkpoint: str | Path, table: MarginTable, summary: MarginSummary) -> Iterator[Block]:
    yield Text(
        f"IMA training gave each of {summary.count} training samples its own ε, its margin, between δ = "
        f"{level(table.delta)} and ε_max = {level(table.eps_max)}. {share(summary.at_delta)} of the margins lie at δ "
        f"(misclassified, or next to the boundary), {share(summary.at_eps_max)} at ε_max. Read from {checkpoint}."
    )
    histogram = Histogram(
        "Margins of the training samples",
        "margin ε",
        "training samples",
        table.values().tolist(),
        table.eps_max,
        (summary.suggested_eps, f"median {level(summary.suggested_eps)}"),
    )
    rows = [[f"{quantile:.0%}", level(value)] for quantile, value in summary.quantiles.items()]
    quantiles = Table("Quantiles of the margins", ["margins at or below", "ε"], [*rows, ["mean", level(summary.mean)]])
    yield Figures([histogram], quantiles)
    yield Text(
        f"For training with one fixed ε, the median is a start: ε = {level(summary.suggested_eps)}. Half of the "
        "training samples have a boundary nearer than that."
    )
    yield Text(
        "ε_max trades clean accuracy for robustness: as ε_max grows, clean accuracy falls and robustness rises. Train "
        "with several values and take the largest ε_max whose clean validation accuracy is still acceptable."
    )


def curves_section(folder: str | Path, runs: Mapping[str, Scalars]) -> Section:
    """What training logged.

    Args:
        folder: where the logs were found.
        runs: scalars by run.
    """
    return Section("training", "Training", list(_curves(folder, runs)))


def _curves(folder: str | Path, runs: Mapping[str, Scalars]) -> Iterator[Block]:
    lines = {
        (f"{run}: {tag}" if len(runs) > 1 else tag): points
        for run, scalars in runs.items()
        for tag, points in scalars.items()
    }
    thinned = " Each point of a long curve is the mean of its neighbours." if _any_long(lines) else ""
    yield Text(
        f"Scalars from the TensorBoard files in {folder}. MONAI logs scores and margins once an epoch, the training "
        f"loss once an iteration.{thinned}"
    )
    charts = []
    for title, y_label, tags in _grouped(lines):
        for k in range(0, len(tags), LINES_A_CHART):
            part = [_line(tag, lines[tag]) for tag in tags[k : k + LINES_A_CHART]]
            bounded = y_label in ("score", "share") and all(
                0 <= y <= 1 for line in part for y in line.y if y is not None
            )
            charts.append(LineChart(title, "step", y_label, part, share=bounded, whole=True))
    rows = []
    for name, points in lines.items():
        values = [value for _, value in points]
        shown = [f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))]
        rows.append([name, str(len(points)), *shown])
    header = ["scalar", "values", "first", "last", "lowest", "highest"]
    yield Figures(charts, Table("Logged scalars", header, rows))


def _grouped(tags: Sequence[str] | Mapping[str, object]) -> Iterator[tuple[str, str, list[str]]]:
    """Title, label and tags of the charts; every tag is in one of them."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for tag in tags:
        kinds.setdefault(_kind(tag), []).append(tag)
    for kind in sorted(kinds, key=ORDER.index):
        yield *kind, kinds[kind]


MARGINS, SHARES = ("Mean margin", "margin ε"), ("Shares of the training samples", "share")
SCORES, LOSS = ("Scores", "score"), ("Training loss", "loss")
PARTS, OTHER = ("Parts of the loss", "loss"), ("Other scalars", "value")
ORDER = [MARGINS, SHARES, SCORES, LOSS, PARTS, OTHER]


def _kind(tag: str) -> tuple[str, str]:
    name = tag.rsplit(": ", 1)[-1]
    if name.endswith("margin_mean"):
        return MARGINS
    if name.endswith("_fraction"):
        return SHARES
    if "loss" in name:
        return PARTS if "/" in name else LOSS
    return OTHER if "/" in name else SCORES


def _any_long(lines: Mapping[str, Sequence[object]]) -> bool:
    return any(len(points) > POINTS for points in lines.values())


def _line(name: str, points: Sequence[tuple[int, float]]) -> Line:
    """A line of at most :data:`POINTS` points."""
    size = -(-len(points) // POINTS)
    parts = [points[k : k + size] for k in range(0, len(points), size)]
    return Line(
        name,
        [sum(step for step, _ in part) / len(part) for part in parts],
        [sum(value for _, value in part) / len(part) for part in parts],
    )
