"""Charts as data, and their drawing as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from monai_ima.utils.checks import without_middle
from monai_ima.utils.plain_numbers import plain_number

from .svg import GRID, INK, MUTED, SERIES, inline_svg

__all__ = ["LINES_A_CHART", "Bars", "Chart", "Histogram", "Line", "LineChart", "draw"]

WIDTH, PLOT_HEIGHT, LEGEND_ROW = 360, 236, 16
FONT = 11
LINES_A_CHART = 6
"""As many lines are told apart by colour, marker and dashes."""
MARKERS = "osD^vP"
DASHES = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))]
LONGEST_LABEL, LABEL_END = 44, 17
"""Letters of a name in the legend, and of its end where its middle is left out."""
LETTER, BARS_WIDTH = 7.5, 300
"""Width of a letter with some room in any font of a browser, and of all bars together."""
WORDY = 12
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "monai_ima",
    "text.parse_math": False,
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), FONT),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top"), False),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend.
        x, y: of its points; a ``y`` of None is a gap.
        intervals: lower and upper end at every point, None where not known; drawn as a band.
        series: number of its colour and marker; None means its place in the chart.
        dash: number of its dashes, 0 is solid; None means by its place. Given dashes have hollow markers.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] = ()
    series: int | None = None
    dash: int | None = None


@dataclass(frozen=True)
class LineChart:
    """Lines with markers and bands.

    Attributes:
        title: above the chart.
        x_label, y_label: of the axes.
        lines: :data:`LINES_A_CHART` are told apart by colour, marker and dashes, more by the dashes only.
        share: y is a share, the axis runs from 0 to 1.
        second: name and factor of a second scale on top of the chart, such as ``("ε in HU", 20)``.
        whole: x are integers (epochs).
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    share: bool = True
    second: tuple[str, float] | None = None
    whole: bool = False

    @property
    def words(self) -> str:
        """What the chart shows, for those who do not see it."""
        return f"{self.title}. {self.y_label} against {self.x_label}. " + " ".join(map(_said, self.lines))


@dataclass(frozen=True)
class Bars:
    """Counts by name."""

    title: str
    x_label: str
    y_label: str
    names: Sequence[str]
    counts: Sequence[int]

    @property
    def words(self) -> str:
        """What the chart shows, for those who do not see it."""
        pairs = ", ".join(f"{name}: {count}" for name, count in zip(self.names, self.counts, strict=True))
        return f"{self.title}. {self.y_label} by {self.x_label}. {pairs}."


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins of 0..upper.

    Attributes:
        mark: a value to mark by a line, and its label.
        beyond: count of a separate bar right of ``upper``, and its label.
    """

    title: str
    x_label: str
    y_label: str
    values: Sequence[float]
    upper: float
    mark: tuple[float, str] | None = None
    beyond: tuple[int, str] | None = None
    second: tuple[str, float] | None = None
    bins: int = 20

    @property
    def counts(self) -> list[int]:
        """Values in each bin; a value on an inner edge belongs to the bin above."""
        counts = [0] * self.bins
        for value in self.values:
            counts[min(int(value / self.upper * self.bins), self.bins - 1)] += 1
        return counts

    @property
    def words(self) -> str:
        """What the chart shows, for those who do not see it."""
        width = self.upper / self.bins
        filled = [
            f"{plain_number(k * width, 3)} to {plain_number((k + 1) * width, 3)}: {count}"
            for k, count in enumerate(self.counts)
            if count > 0
        ]
        extra = [f"{self.beyond[1]}: {self.beyond[0]}"] if self.beyond else []
        marked = f" {self.mark[1]}." if self.mark else ""
        return f"{self.title}. {self.y_label} by {self.x_label}. {', '.join(filled + extra)}.{marked}"


Chart = LineChart | Bars | Histogram


def _said(line: Line) -> str:
    known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    if not known:
        return f"{line.name}: no value."
    points = [f"{plain_number(y, 3)} at {plain_number(x)}" for x, y in known]
    if len(known) <= WORDY:
        return f"{line.name}: {', '.join(points)}."
    values = [y for _, y in known]
    low, high = (points[values.index(end)] for end in (min(values), max(values)))
    return f"{line.name}: from {points[0]} to {points[-1]}, lowest {low}, highest {high}."


def draw(chart: Chart, name: str) -> str:
    """The chart as an inline ``<svg>`` element.

    Args:
        chart: what to draw.
        name: unique in the page; its elements' ids begin with it.
    """
    legend_rows, columns = _legend_rows(chart)
    height = PLOT_HEIGHT + LEGEND_ROW * legend_rows + (30 if getattr(chart, "second", None) else 0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=2 / 72, h_pad=5 / 72))
        axes = figure.add_subplot()
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        if isinstance(chart, LineChart):
            _draw_lines(figure, axes, chart, columns)
        elif isinstance(chart, Bars):
            _draw_bars(axes, chart)
        else:
            _draw_histogram(axes, chart)
        return inline_svg(figure, name, chart.title, chart.words)


def _legend_rows(chart: Chart) -> tuple[int, int]:
    if not isinstance(chart, LineChart) or len(chart.lines) < 2:
        return 0, 1
    longest = max(min(len(line.name), LONGEST_LABEL) for line in chart.lines)
    columns = max(1, min(len(chart.lines), 44 // (longest + 6)))
    return math.ceil(len(chart.lines) / columns), columns


def _draw_lines(figure: Figure, axes: Axes, chart: LineChart, columns: int) -> None:
    handles = []
    for k, line in enumerate(chart.lines):
        series = k if line.series is None else line.series
        placed = k if k < len(SERIES) else k // len(SERIES) % len(DASHES)
        color, dash = SERIES[series % len(SERIES)], DASHES[placed if line.dash is None else line.dash]
        marker = "" if len(line.x) > WORDY else MARKERS[series % len(MARKERS)]
        filling = "none" if line.dash else color
        y = [math.nan if value is None else value for value in line.y]
        if any(end is not None for end in line.intervals):
            low, high = zip(*(ends or (math.nan, math.nan) for ends in line.intervals), strict=True)
            axes.fill_between(line.x, low, high, color=color, alpha=0.16, linewidth=0)
        style: Any = {"color": color, "marker": marker, "markersize": 5, "markerfacecolor": filling}
        handles += axes.plot(line.x, y, linewidth=1.6, linestyle=dash, **style)
    if chart.share:
        axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=chart.whole))
    _second_scale(axes, chart.second)
    if len(handles) > 1:
        _legend(figure, handles, [line.name for line in chart.lines], columns)


def _legend(figure: Figure, handles: list[Line2D], names: Sequence[str], columns: int) -> None:
    legend: Legend = figure.legend(
        handles,
        [str(k) for k in range(len(names))],
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        handlelength=2.6,
        borderpad=0,
        labelspacing=0.3,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(without_middle(name, LONGEST_LABEL, LABEL_END))


def _draw_bars(axes: Axes, chart: Bars) -> None:
    places = range(len(chart.names))
    axes.bar(places, chart.counts, color=SERIES[0], width=0.7)
    narrow = max(map(len, chart.names)) * LETTER > BARS_WIDTH / len(chart.names)
    turned: Any = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if narrow else {}
    axes.set_xticks(places, chart.names, **turned)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(visible=False, axis="x")


def _draw_histogram(axes: Axes, chart: Histogram) -> None:
    width = chart.upper / chart.bins
    axes.bar([k * width for k in range(chart.bins)], chart.counts, width=width * 0.9, align="edge", color=SERIES[0])
    if chart.beyond is not None:
        count, label = chart.beyond
        place = chart.upper + 3 * width
        axes.bar([place], [count], width=width * 2, color=SERIES[5], hatch="///", fill=False, edgecolor=SERIES[5])
        axes.annotate(label, (place, count), (0, 3), textcoords="offset points", ha="center", va="bottom")
    if chart.mark is not None:
        value, label = chart.mark
        axes.axvline(value, color=SERIES[1], linestyle=DASHES[1], linewidth=1.8)
        right = value > chart.upper / 2
        axes.annotate(
            label,
            (value, 1),
            (-4 if right else 4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
        )
    top = max(*chart.counts, chart.beyond[0] if chart.beyond else 0, 1)
    axes.set_ylim(0, top * 1.22)
    axes.set_xticks(_ticks(chart.upper))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(visible=False, axis="x")
    _second_scale(axes, chart.second, chart.upper)


def _ticks(upper: float) -> list[float]:
    """At most seven round values in 0..upper."""
    return [value for value in MaxNLocator(6).tick_values(0, upper) if value <= upper * (1 + 1e-9)]


def _second_scale(axes: Axes, second: tuple[str, float] | None, upper: float | None = None) -> None:
    """A second scale on top, with ticks up to ``upper`` of the first."""
    if second is None:
        return
    label, factor = second
    forward: Any = partial(mul, factor)
    back: Any = partial(mul, 1 / factor)
    scale = axes.secondary_xaxis("top", functions=(forward, back))
    scale.set_xlabel(label)
    scale.grid(visible=False)
    if upper is None:
        scale.xaxis.set_major_locator(MaxNLocator(6))
    else:
        scale.set_xticks(_ticks(upper * factor))
