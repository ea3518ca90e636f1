from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_ima.utils.checks import check_instance
from monai_ima.utils.tensors import check_tensor

__all__ = ["Level", "level_pictures"]

WINDOW = (0.5, 99.5)
"""Percentiles of the clean image, black to white."""
INCHES = 2.4


@dataclass(frozen=True)
class Level:
    """One image changed in several ways that are of one size.

    Attributes:
        title: of the size.
        changed: the images ``[C, *spatial]``, by what was done to them.

    Example:
        >>> list(Level("ε = 1", {"noise": torch.zeros(1, 8, 8)}).changed)
        ['noise']
    """

    title: str
    changed: dict[str, torch.Tensor]


def level_pictures(clean: torch.Tensor, levels: Sequence[Level], title: str = "") -> Figure:
    """The clean image and what it looks like at each level, one row a level.

    Args:
        clean: ``[C, *spatial]``, 1-D to 3-D. Signals are drawn as lines, of a volume the middle slice of its last axis;
            three channels of a 2-D image are shown in colour, of any other number the first.
        levels: with images of the same shape, as many in each.
        title: above the figure.

    Raises:
        TypeError: when an argument is of another type.
        ValueError: when there are no levels, or a shape is another.

    Example:
        >>> clean = torch.rand(1, 8, 8)
        >>> len(level_pictures(clean, [Level("ε = 1", {"noise": clean + 0.1})]).axes)
        2
    """
    check_tensor("clean", clean)
    check_instance("levels", levels, Sequence, "a sequence of Level(...)")
    for level in levels:
        check_instance("levels", level, Level, "a sequence of Level(...)")
    if not levels or not 2 <= clean.ndim <= 4:
        raise ValueError(
            f"Got {len(levels)} levels of an image of shape {tuple(clean.shape)}, expected some of [C, *spatial]."
        )
    columns = len(levels[0].changed)
    first = _drawn(clean)
    height = INCHES if first.ndim == 1 else INCHES * min(max(first.shape[0] / first.shape[1], 0.4), 2.5)
    figure = Figure(figsize=(INCHES * (columns + 1) + 0.4, (height + 0.4) * len(levels)), dpi=110, layout="constrained")
    grid = figure.subplots(len(levels), columns + 1, squeeze=False)
    limits = np.percentile(first, WINDOW)
    for row, level in zip(grid, levels, strict=True):
        if any(image.shape != clean.shape for image in level.changed.values()) or len(level.changed) != columns:
            raise ValueError(f"Level {level.title!r} holds other images, expected {columns} of {tuple(clean.shape)}.")
        for axes, (heading, image) in zip(row, {"clean": clean, **level.changed}.items(), strict=True):
            _draw(axes, _drawn(image), limits)
            axes.set_title(heading, fontsize=8)
        row[0].set_ylabel(level.title, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def _draw(axes: Axes, values: np.ndarray, limits: np.ndarray) -> None:
    low, high = float(limits[0]), float(limits[1])
    span = (high - low) or 1.0
    if values.ndim == 1:
        axes.plot(values, color="black", linewidth=0.8)
        axes.set_ylim(low - 0.2 * span, high + 0.2 * span)
    else:
        axes.imshow(((values - low) / span).clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _drawn(image: torch.Tensor) -> np.ndarray:
    """What of an image is drawn: ``[L]``, ``[H, W]`` or ``[H, W, 3]``."""
    values = image.detach().cpu().float()
    if values.ndim == 3 and len(values) == 3:
        return values.permute(1, 2, 0).numpy()
    plane = values[0]
    return plane[..., plane.shape[-1] // 2].T.flip(0).numpy() if plane.ndim == 3 else plane.numpy()
