"""Figures of perturbations with parameters: their curves side by side, and one sample before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_ima.utils.checks import check_instance
from monai_ima.utils.tensors import check_tensor

from .planes import Planes
from .volumes import largest_slice

__all__ = ["Case", "PerturbationCurves", "perturbation_curves", "perturbation_strip"]

COLUMNS = 3
CASES = (
    ("worst", "worst case", "#0072B2", "o-"),
    ("average", "average case", "#D55E00", "s--"),
    ("torchio", "TorchIO", "#009E73", "^:"),
)
HEADINGS = ("clean", "worst case found", "difference")


class Case(Protocol):
    """Scores at every size, None where there is none, and the ends of their intervals where known."""

    @property
    def values(self) -> Sequence[float | None]: ...

    @property
    def intervals(self) -> Sequence[tuple[float, float] | None]: ...


class PerturbationCurves(Protocol):
    """The curves of one perturbation; ``levels`` are sizes in ``unit``, ``torchio`` is None where not measured."""

    @property
    def title(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def levels(self) -> Sequence[float]: ...

    @property
    def worst(self) -> Any: ...

    @property
    def average(self) -> Any: ...

    @property
    def torchio(self) -> Any: ...


def perturbation_curves(results: Sequence[PerturbationCurves], quantity: str, title: str = "") -> Figure:
    """Worst and average case, and TorchIO's where measured, against size, one panel a perturbation, with bands of the
    intervals.

    Args:
        results: at least one.
        quantity: name of the score, which is in [0, 1].
        title: above the figure.

    Raises:
        TypeError: when ``results`` are no sequence.
        ValueError: when there are none.
    """
    check_instance("results", results, Sequence, "a sequence of results of perturbations")
    if not results:
        raise ValueError("Got no results, expected those of at least one perturbation.")
    columns = min(COLUMNS, len(results))
    rows = math.ceil(len(results) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.7 * rows + 0.8), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, result in zip(grid.flat, results, strict=False):
        for name, label, colour, style in CASES:
            if getattr(result, name) is not None:
                _line(axes, result.levels, getattr(result, name), label, colour, style)
        axes.set_title(result.title, fontsize=10)
        axes.set_xlabel(f"size ({result.unit})")
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(results) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel(quantity)
    lines = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), frameon=False)
    figure.suptitle(title, fontsize=9)
    return figure


def _line(axes: Axes, levels: Sequence[float], case: Case, label: str, colour: str, style: str) -> None:
    values = [math.nan if value is None else value for value in case.values]
    low, high = zip(*(ends or (math.nan, math.nan) for ends in case.intervals), strict=True)
    axes.fill_between(levels, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(levels, values, style, color=colour, markersize=4, label=label)


def perturbation_strip(
    clean: torch.Tensor,
    changed: torch.Tensor,
    foreground: torch.Tensor | None = None,
    title: str = "",
    affine: np.ndarray | None = None,
) -> Figure:
    """Clean sample, changed sample and their signed difference side by side.

    Both samples have one grey scale; the difference has one colour scale, blue below 0 and red above, symmetric
    around 0. Of a volume the axial slice with the most foreground is drawn, of equals the middle one; where its affine
    is not known the slice across its last axis.

    Args:
        clean: image ``[C, H, W]`` (of three channels the mean is shown, of any other number the first), volume
            ``[C, H, W, D]`` or signal ``[C, L]``.
        changed: of the same shape.
        foreground: of the label map, ``[*spatial]``; None where there is none.
        title: above the figure, such as name and size of the perturbation; of a volume the plane is added.
        affine: ``[4, 4]`` of a volume, from voxels to mm (RAS); None where it is not known.

    Raises:
        TypeError: when one is no tensor.
        ValueError: when it has another number of axes, or the shapes differ.

    Example:
        >>> len(perturbation_strip(torch.zeros(1, 8), torch.ones(1, 8)).axes)
        3
    """
    check_tensor("clean", clean)
    check_tensor("changed", changed)
    if clean.ndim not in (2, 3, 4) or clean.shape != changed.shape:
        raise ValueError(
            f"Got a clean sample of shape {tuple(clean.shape)} and a changed one of {tuple(changed.shape)}, expected "
            "the same shape [C, L], [C, H, W] or [C, H, W, D]."
        )
    if foreground is not None:
        check_tensor("foreground", foreground)
        if foreground.shape != clean.shape[1:]:
            raise ValueError(f"Got a foreground of shape {tuple(foreground.shape)}, expected {tuple(clean.shape[1:])}.")
    (first, plane), (second, _) = (_drawn(image, foreground, Planes(affine)) for image in (clean, changed))
    flat = first.ndim == 1
    height = 2.4 if flat else min(max(3.0 * first.shape[0] / first.shape[1], 1.2), 6.0) + 0.6
    figure = Figure(figsize=(7.2, 0.75 * height), dpi=100, layout="constrained")
    panels = figure.subplots(1, 3)
    (_signals if flat else _images)(figure, panels, first, second)
    for axes, heading in zip(panels, HEADINGS, strict=True):
        axes.set_title(heading, fontsize=11)
    figure.suptitle(" – ".join(filter(None, (title, plane))), fontsize=11)
    return figure


def _drawn(image: torch.Tensor, foreground: torch.Tensor | None, orientation: Planes) -> tuple[np.ndarray, str]:
    """What of a sample is drawn: ``[H, W]`` or ``[L]``; a volume's slice lies with its first axis to the right, and
    has a name."""
    values = image.detach().cpu().float()
    shown = (values.mean(dim=0) if len(values) == 3 and values.ndim == 3 else values[0]).numpy()
    if shown.ndim < 3:
        return shown, ""
    area = np.zeros(shown.shape) if foreground is None else foreground.detach().cpu().numpy()
    shown, area = orientation.upright(shown), orientation.upright(area)
    index = largest_slice(area, 2)
    return np.flipud(shown[:, :, index].T), orientation.name(2, index, shown.shape)


def _images(figure: Figure, panels: Sequence[Axes], first: np.ndarray, second: np.ndarray) -> None:
    lo, hi = min(first.min(), second.min()), max(first.max(), second.max())
    difference = second - first
    limit = float(np.abs(difference).max()) or 1.0
    for axes, values in zip(panels, (first, second), strict=False):
        axes.imshow(values, cmap="gray", vmin=lo, vmax=hi, interpolation="nearest")
    shown = panels[2].imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(shown, ax=panels[2], shrink=0.8).ax.tick_params(labelsize=7)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])


def _signals(figure: Figure, panels: Sequence[Axes], first: np.ndarray, second: np.ndarray) -> None:
    for axes, values in zip(panels, (first, second, second - first), strict=True):
        axes.plot(values, color="black", linewidth=0.9)
        axes.tick_params(labelsize=7)
    panels[1].sharey(panels[0])
