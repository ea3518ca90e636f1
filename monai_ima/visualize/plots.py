from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import mul
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_ima.utils.checks import check_count, check_instance, check_path, check_positive
from monai_ima.utils.files import whole_file

__all__ = ["margin_histogram", "robustness_curves", "save_figure"]

MARKERS = "osD^vP*X"


def robustness_curves(
    levels: Sequence[float],
    accuracies: Mapping[str, Sequence[float]],
    norm: str,
    title: str = "",
    quantity: str = "accuracy",
    second: tuple[str, float] | None = None,
) -> Figure:
    """Accuracy, or another score in [0, 1], against ε, one line a model (or class).

    Args:
        levels: ε of every point, rising.
        accuracies: for each name the score at every level, in [0, 1].
        norm: ``"l2"`` or ``"linf"``, for the label of the axis.
        title: above the figure.
        quantity: name of the score.
        second: name and factor > 0 of a second scale on top, such as ``("RMS a pixel, HU", 0.5)``.

    Raises:
        TypeError: when ``accuracies`` is no dictionary.
        ValueError: when a line does not have one value for every level.
    """
    check_instance("accuracies", accuracies, Mapping, "a dictionary of scores by name")
    figure = Figure(figsize=(6, 4), dpi=150)
    # Labels of scores are as wide in every figure: there is nothing to fit, which would take longer than to draw.
    axes = figure.add_axes((0.115, 0.125, 0.865, 0.79 if second is None else 0.69))
    for marker, (name, values) in zip(MARKERS * len(accuracies), accuracies.items(), strict=False):
        if len(values) != len(levels):
            raise ValueError(f"Line {name!r} has {len(values)} values for {len(levels)} levels, expected one for each.")
        axes.plot(levels, values, marker=marker, markersize=4, label=name)
    axes.set_xlabel(f"noise level ε ({'L2' if norm == 'l2' else 'L∞'} norm)")
    _second_scale(axes, second)
    axes.set_ylabel(quantity)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(title)
    return figure


def margin_histogram(
    margins: Sequence[float],
    eps_max: float,
    suggested: float | None = None,
    title: str = "",
    bins: int = 30,
    second: tuple[str, float] | None = None,
    measured: str | None = None,
) -> Figure:
    """Histogram of the training samples' margins.

    Args:
        margins: ε of every sample, in [0, eps_max].
        eps_max: right end of the axis.
        suggested: a fixed ε to mark; None for no mark.
        title: above the figure.
        bins: number of bars.
        second: name and factor > 0 of a second scale on top.
        measured: what ε measures, with its unit, where it is no noise.

    Raises:
        ValueError: when ``eps_max`` is not a finite number > 0, or ``bins`` is not an integer >= 1.
    """
    eps_max, bins = check_positive("eps_max", eps_max), check_count("bins", bins, 1)
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(margins, bins=bins, range=(0, eps_max), color="steelblue")
    if suggested is not None:
        axes.axvline(suggested, color="firebrick", linestyle="--", label=f"suggested fixed ε = {suggested:.4g}")
        axes.legend()
    axes.set_xlabel("margin ε" + (f": {measured}" if measured else ""))
    _second_scale(axes, second)
    axes.set_ylabel("training samples")
    axes.set_title(title)
    return figure


def _second_scale(axes: Axes, second: tuple[str, float] | None) -> None:
    if second is not None:
        name, factor = second
        axes.secondary_xaxis("top", functions=(partial(mul, factor), partial(mul, 1 / factor))).set_xlabel(name)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG.

    Raises:
        FileExistsError: when ``path`` exists.
        TypeError: when ``figure`` is none.
        ValueError: when ``path`` is no path.
    """
    check_instance("figure", figure, Figure, "a figure of matplotlib")
    path = check_path("path", path)
    with whole_file(path, overwrite=False) as unfinished:
        FigureCanvasAgg(figure).print_png(str(unfinished))
    return Path(path)
