from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

__all__ = ["margin_histogram"]


def margin_histogram(
    margins: Sequence[float], eps_max: float, suggested: float | None = None, title: str = "", bins: int = 30
) -> Figure:
    """Histogram of the training samples' margins.

    Args:
        margins: ε of every sample, in [0, eps_max].
        eps_max: right end of the axis.
        suggested: a fixed ε to mark; None for no mark.
        title: above the figure.
        bins: number of bars.
    """
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(margins, bins=bins, range=(0, eps_max), color="steelblue")
    if suggested is not None:
        axes.axvline(suggested, color="firebrick", linestyle="--", label=f"suggested fixed ε = {suggested:.4g}")
        axes.legend()
    axes.set_xlabel("margin ε")
    axes.set_ylabel("training samples")
    axes.set_title(title)
    return figure
