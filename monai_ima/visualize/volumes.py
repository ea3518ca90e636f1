from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from monai_ima.utils.plain_numbers import plain_number
from monai_ima.utils.tensors import check_tensor

from .planes import Planes

__all__ = ["largest_slice", "volume_example"]

# Okabe and Ito's colours, told apart with any colour vision; the best on grey first.
COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73", "#D55E00", "#0072B2")
WINDOW = (0.5, 99.5)  # percentiles of the clean image, black to white
INCHES = 2.3
FLATTEST = 0.4  # height to width of a plane; thick slices make flatter ones, which are stretched


def volume_example(
    image: torch.Tensor,
    noisy: torch.Tensor,
    label: torch.Tensor,
    clean_pred: torch.Tensor,
    noisy_pred: torch.Tensor,
    eps: float,
    norm: str,
    title: str = "",
    size: str = "",
    affine: np.ndarray | None = None,
    names: Sequence[str] = (),
    limit: float | None = None,
) -> Figure:
    """One scan under attack: clean image, noisy image and noise, with contours of label and prediction.

    A volume is cut across each axis where the label's foreground is largest, one row a cut: sagittal, coronal and axial
    where its affine is known. A plane is drawn with its first axis to the right and its second upwards, so that a
    volume stands upright; very flat ones are stretched. A 2-D image is one row, drawn as stored.

    Args:
        image: clean, ``[C, *spatial]``, 2-D or 3-D; of several channels the first is shown.
        noisy: the same under attack; shown with the clean image's grey window.
        label: classes, ``[*spatial]`` or ``[1, *spatial]``, 0 is background.
        clean_pred: classes predicted for ``image``, shaped like ``label``.
        noisy_pred: classes predicted for ``noisy``, shaped like ``label``.
        eps: radius of the attack.
        norm: its norm, ``"l2"`` or ``"linf"``.
        title: above the figure, such as the scan's name and its scores.
        size: of ε in a pixel, in words.
        affine: ``[4, 4]`` of a volume, from voxels to mm (RAS); None where it is not known.
        names: of the classes, the background first; those without one are called by their number.
        limit: noise that the colour scale ends at, on both sides of 0; None: the largest here.

    Raises:
        TypeError: when one of the first five is no tensor.
        ValueError: when the image is neither 2-D nor 3-D, or a shape does not fit the image's.
    """
    given = {"image": image, "noisy": noisy, "label": label, "clean_pred": clean_pred, "noisy_pred": noisy_pred}
    for name, value in given.items():
        check_tensor(name, value)
    if image.ndim not in (3, 4):
        raise ValueError(f"Got an image of shape {tuple(image.shape)}, expected [C, H, W] or [C, H, W, D].")
    if noisy.shape != image.shape:
        raise ValueError(f"Got a noisy image of shape {tuple(noisy.shape)}, expected {tuple(image.shape)}.")
    shape = tuple(image.shape[1:])
    clean, changed = _array(image[0]), _array(noisy[0])
    truth = _classes(label, shape, "a label")
    predictions = [_classes(clean_pred, shape, "a clean prediction"), _classes(noisy_pred, shape, "a noisy prediction")]
    classes = [int(k) for k in np.unique(np.stack([truth, *predictions])) if k > 0]
    lo, hi = np.percentile(clean, WINDOW)
    noise = changed - clean
    largest = float(np.abs(noise).max())
    limit = limit or largest or 1.0
    orientation = Planes(affine)
    if len(shape) == 3:
        clean, changed, noise, truth, *predictions = map(
            orientation.upright, (clean, changed, noise, truth, *predictions)
        )
        cuts: list[tuple[int | None, int]] = [(axis, largest_slice(truth, axis)) for axis in range(3)]
    else:
        cuts = [(None, 0)]
    heights = [_height(_plane(clean, axis, index)) for axis, index in cuts]
    figure = Figure(figsize=(3 * INCHES + 0.9, INCHES * sum(heights) + 1.1), dpi=150, layout="constrained")
    grid = figure.subplots(len(cuts), 3, squeeze=False, height_ratios=heights)
    for row, (axis, index) in zip(grid, cuts, strict=True):
        for axes, values, predicted in zip(row, (clean, changed), predictions, strict=False):
            _image(axes, _plane(values, axis, index), axis, "gray", lo, hi)
            for k in classes:
                for style, mask in (("solid", truth == k), ("dashed", predicted == k)):
                    _contour(axes, _plane(mask, axis, index), k, style)
        shown = _image(row[2], _plane(noise, axis, index), axis, "RdBu_r", -limit, limit)
        if axis is not None:
            row[0].set_ylabel(orientation.name(axis, index, truth.shape), fontsize=9)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, heading in zip(grid[0], ("clean", "noisy", f"noise, at most {plain_number(largest, 3)}"), strict=True):
        axes.set_title(heading, fontsize=9)
    figure.colorbar(shown, ax=list(grid[:, 2]), shrink=0.8, aspect=30).ax.tick_params(labelsize=7)
    _legend(figure, {k: names[k] if k < len(names) else f"class {k}" for k in classes})
    level = f"ε = {plain_number(eps)} ({'L2' if norm == 'l2' else 'L∞'} norm{f': {size}' if size else ''})"
    figure.suptitle(f"{title}\n{level}" if title else level, fontsize=10)
    return figure


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def _classes(tensor: torch.Tensor, shape: tuple[int, ...], what: str) -> np.ndarray:
    if tuple(tensor.shape) not in (shape, (1, *shape)):
        raise ValueError(f"Got {what} of shape {tuple(tensor.shape)}, expected {shape} or {(1, *shape)}.")
    return _array(tensor).reshape(shape).astype(int)


def largest_slice(label: np.ndarray, axis: int) -> int:
    """The slice across an axis with the most foreground; of equals the middle one."""
    area = (label > 0).sum(axis=tuple(k for k in range(label.ndim) if k != axis))
    equal = np.flatnonzero(area == area.max())
    return int(equal[len(equal) // 2])


def _plane(values: np.ndarray, axis: int | None, index: int) -> np.ndarray:
    return values if axis is None else values.take(index, axis).T


def _height(plane: np.ndarray) -> float:
    return min(max(plane.shape[0] / plane.shape[1], FLATTEST), 1 / FLATTEST)


def _image(axes: Axes, plane: np.ndarray, axis: int | None, colours: str, lo: float, hi: float) -> AxesImage:
    origin: Literal["upper", "lower"] = "upper" if axis is None else "lower"
    aspect = _height(plane) * plane.shape[1] / plane.shape[0]
    shown = axes.imshow(plane, cmap=colours, vmin=lo, vmax=hi, origin=origin, aspect=aspect, interpolation="nearest")
    axes.autoscale(False)
    return shown


def _contour(axes: Axes, mask: np.ndarray, k: int, style: str) -> None:
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(float)  # a border of background closes contours at the edge
    columns, rows = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
    drawn = axes.contour(columns, rows, padded, levels=[0.5], colors=[_colour(k)], linestyles=style, linewidths=1.3)
    drawn.set_path_effects([withStroke(linewidth=2.2, foreground="black", alpha=0.5)])


def _colour(k: int) -> str:
    return COLOURS[(k - 1) % len(COLOURS)]


def _legend(figure: Figure, names: Mapping[int, str]) -> None:
    entries = [Line2D([], [], color=_colour(k), linewidth=3, label=name) for k, name in names.items()]
    entries += [
        Line2D([], [], color="black", linestyle="solid", label="label"),
        Line2D([], [], color="black", linestyle="dashed", label="prediction"),
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 4), fontsize=9, frameon=False)
