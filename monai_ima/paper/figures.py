"""The figures of a paper: vector graphics that need no font of the reader's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from monai_ima.report.wording import CASES, attack_words, attacked, axis, capitalised, common_size, metric_name
from monai_ima.results.base import as_numbers
from monai_ima.results.perturbed import CaseCurve
from monai_ima.results.schema import Results
from monai_ima.utils.files import whole_file

from .latex import code_point

__all__ = ["KINDS", "banded", "paper_figures", "save"]

KINDS = ("pdf", "svg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's, which most people with a colour vision deficiency tell apart."""
MARKERS = "osD^vP"
DASHES = ("-", "--", ":", "-.")
COLUMN = 3.4
"""Width of a column of text, in inches."""
ACROSS, DOWN = 2, 4
"""Charts of perturbations side by side, and below each other on a page."""
STYLE: Any = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "monai_ima",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
}


def paper_figures(models: Sequence[Results]) -> dict[str, Figure]:
    """The figures by name, each where it was measured: ``robustness``; ``perturbations``, more than eight numbered.

    Args:
        models: of one norm and metric, with a label each.
    """
    with matplotlib.rc_context(STYLE):
        figures = {"robustness": _robustness(models)} if any(map(attacked, models)) else {}
        names = list(dict.fromkeys((one.name, one.unit) for model in models for one in model.perturbations))
        parts = [names[k : k + ACROSS * DOWN] for k in range(0, len(names), ACROSS * DOWN)]
        for number, part in enumerate(parts, 1):
            figures["perturbations" + f"-{number}" * (len(parts) > 1)] = _perturbations(models, part)
    return figures


def banded(figure: Figure) -> bool:
    """Whether there are bands of intervals in it."""
    return any(axes.collections for axes in figure.axes)


def save(figure: Figure, file: Path) -> None:
    """Write a figure as PDF or SVG, by the ending of the file; equal figures give equal files."""
    metadata = {"CreationDate": None} if file.suffix == ".pdf" else {"Date": None}
    with matplotlib.rc_context(STYLE), whole_file(file, overwrite=False) as unfinished:
        figure.savefig(unfinished, metadata=metadata)


def _robustness(models: Sequence[Results]) -> Figure:
    """Of several models a line each, under the strongest attack; of one a line for each attack."""
    first = models[0]
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    axes = figure.subplots()
    if len(models) > 1:
        lines = [(one.label, one.levels, one.strongest) for one in models]
    else:
        lines = [(attack_words(attack.name, first.metric), first.levels, attack) for attack in first.attacks]
    for k, (name, levels, curve) in enumerate(lines):
        _line(axes, k, k // len(COLOURS), name, levels, curve.values, curve.intervals)
    axes.set_xlabel(axis(common_size(models)))
    axes.set_ylabel(capitalised(metric_name(first)))
    axes.set_ylim(0, 1.02)
    axes.legend()
    return figure


def _perturbations(models: Sequence[Results], names: Sequence[tuple[str, str]]) -> Figure:
    """A chart for each perturbation: a colour for each model, dashes for the case, bands of the worst case alone."""
    down = -(-len(names) // ACROSS)
    figure = Figure(figsize=(2 * COLUMN, 2.1 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, ACROSS, squeeze=False)
    several = len(models) > 1
    for axes, name in zip(grid.flat, names, strict=False):
        for k, model in enumerate(models):
            for one in model.perturbations:
                if (one.name, one.unit) == name:
                    axes.set_title(_drawable(capitalised(one.title)), fontsize=8)
                    for dash, (case, words) in enumerate(CASES.items()):
                        curve: CaseCurve | None = getattr(one, case)
                        if curve is not None:
                            label = f"{model.label}, {words}" if several else words
                            bands = curve.intervals if case == "worst" else ()
                            _line(axes, k, dash, label, one.levels, curve.values, bands)
        axes.set_xlabel(f"size ({_drawable(name[1])})")
        axes.set_ylabel(capitalised(metric_name(models[0])))
        axes.set_ylim(0, 1.02)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    found = dict(pair[::-1] for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(3, len(models)))
    return figure


def _line(
    axes: Axes,
    colour: int,
    dash: int,
    name: str,
    x: Sequence[float],
    y: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
) -> None:
    """A line with markers and the band of its intervals."""
    shown: Any = {"color": COLOURS[colour % len(COLOURS)]}
    style: Any = {"marker": MARKERS[colour % len(MARKERS)], "linestyle": DASHES[dash % len(DASHES)]}
    axes.plot(x, as_numbers(y), label=_drawable(name), **style, **shown)
    if not any(intervals):
        return
    low = as_numbers([None if ends is None else ends[0] for ends in intervals])
    high = as_numbers([None if ends is None else ends[1] for ends in intervals])
    axes.fill_between(x, low, high, alpha=0.15, linewidth=0, **shown)


def _drawable(text: str) -> str:
    """The text with the code points of characters that the font lacks, as in the tables."""
    with matplotlib.rc_context(STYLE):
        known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(character if ord(character) in known else code_point(character) for character in text)
