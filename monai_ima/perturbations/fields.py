"""Smooth fields from control points, and what perturbations measure intensities against."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import pywt
import torch
from scipy.interpolate import BSpline

from .norms import per_sample

__all__ = ["floor_of", "noise_deviation", "noise_pattern", "range_of", "scaled", "smooth_field"]

DEGREE = 3
WAVELET, CLIPPED_SHARE, FEWEST_COEFFICIENTS = "db2", 0.01, 100
NORMAL_MEDIAN = 0.6744897501960817
"""The median size of a standard normal variable."""


@lru_cache(maxsize=64)
def _basis(points: int, size: int) -> np.ndarray:
    degree = min(DEGREE, points - 1)
    inner = np.linspace(0, 1, points - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    at = np.linspace(0, 1, size) if size > 1 else np.array([0.5])
    return BSpline.design_matrix(at, knots, degree).toarray()


def smooth_field(control: torch.Tensor, grid: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """A cubic B-spline with clamped ends: everywhere a weighted mean of its control points.

    With four points an axis it is a cubic polynomial, with one it is constant. No value lies outside the range of the
    control points, so that a limit of theirs is one of the field's.

    Args:
        control: ``[B, *points]``, one axis for each of ``grid``.
        grid: spatial size.

    Returns:
        ``[B, *grid]``.

    Example:
        >>> smooth_field(torch.tensor([[0.0, 3.0]]), (4,))
        tensor([[0., 1., 2., 3.]])
    """
    field = control
    for axis, size in enumerate(grid, start=1):
        weights = torch.as_tensor(_basis(field.shape[axis], size), dtype=field.dtype, device=field.device)
        field = (field.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return field


def floor_of(image: torch.Tensor) -> torch.Tensor:
    """The lowest intensity of each sample's channel, the zero of a multiplicative change: ``[B, C, 1, ...]``."""
    return image.amin(dim=tuple(range(2, image.ndim)), keepdim=True)


def range_of(image: torch.Tensor) -> torch.Tensor:
    """Highest minus lowest intensity of each sample's channel, what per cent refer to: ``[B, C, 1, ...]``."""
    axes = tuple(range(2, image.ndim))
    return image.amax(dim=axes, keepdim=True) - image.amin(dim=axes, keepdim=True)


def noise_pattern(image: torch.Tensor, seed: int, count: int = 1, stream: int = 0) -> torch.Tensor:
    """Standard normal patterns that belong to each image: ``[B, count, C, *spatial]``.

    They are drawn on the CPU by a generator that is seeded with ``seed`` and the image's content: the same in whatever
    batch the image comes, another for every other image and ``stream``.
    """
    patterns = []
    for one in image.detach().float().cpu():
        content = zlib.crc32(np.ascontiguousarray(one.numpy()).tobytes())
        generator = torch.Generator().manual_seed((seed << 32) + content)
        for _ in range(stream + 1):
            pattern = torch.randn((max(count, 2) if stream else count, *one.shape), generator=generator)
        patterns.append(pattern[:count])
    return torch.stack(patterns).to(image)


def noise_deviation(image: torch.Tensor) -> torch.Tensor:
    """The standard deviation of an image's own noise: ``[B, C, 1, ...]``.

    The median size of the finest wavelet coefficients (Daubechies 2, differences along every axis) over that of a
    standard normal variable (Donoho & Johnstone 1994), as scikit-image's ``estimate_sigma`` has it; where more than 1 %
    of the voxels lie at the lowest or highest intensity, as after clipping, coefficients that touch them are left out.
    White noise on a smooth image is found within some per cent; coloured noise (smoothed, resampled) is underestimated.
    0 of an image in which nothing varies.

    Args:
        image: ``[B, C, *spatial]``.

    Example:
        >>> noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
        >>> round(float(noise_deviation(3 * noise)))
        3
    """
    found = [_deviation(channel) for channel in image.detach().double().flatten(0, 1).cpu().numpy()]
    return torch.tensor(found, dtype=torch.float64).to(image).view(*image.shape[:2], *[1] * (image.ndim - 2))


def _deviation(channel: np.ndarray) -> float:
    detail = pywt.dwtn(channel, WAVELET)["d" * channel.ndim]
    ends = [channel == channel.min(), channel == channel.max()]
    touched = np.logical_or.reduce([end & (end.mean() > CLIPPED_SHARE) for end in ends])
    for axis, count in enumerate(detail.shape):
        touched = _touching(touched, axis, count)
    varying = detail != 0
    kept = varying & ~touched
    values = np.abs(detail[kept if kept.sum() >= FEWEST_COEFFICIENTS else varying])
    return float(np.median(values)) / NORMAL_MEDIAN if values.size else 0.0


def _touching(mask: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Which of the wavelet coefficients along an axis lie over voxels of a mask; coefficient k over voxel 2k."""
    voxels = [2 * np.arange(count) + offset for offset in range(-3, 3)]
    return np.logical_or.reduce([mask.take(np.clip(at, 0, mask.shape[axis] - 1), axis=axis) for at in voxels], axis=0)


def scaled(theta: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``[B]`` per cent as fractions that broadcast over ``like``."""
    return per_sample(theta / 100, like)
