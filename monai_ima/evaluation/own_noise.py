"""The noise of images themselves, estimated from each image alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import skew
from skimage.filters import threshold_otsu

from monai_ima.perturbations.fields import noise_deviation

__all__ = ["OwnNoise", "background_noise", "own_noise"]

WINDOW = {2: 7, 3: 5}
"""Edge of the window that has to be all background around a voxel that counts, by spatial dimensions."""
FEWEST_VOXELS = 200
LARGEST_FLOOR_SHARE = 0.1
"""A background with a larger share of voxels at exactly one lowest value is masked or clipped, and tells nothing."""
LEAST_CONTRAST = 6
"""How many of its deviations a background has to lie below the mean of what is bright."""
MOST_UNEVEN = 1.5
"""Largest ratio of a background's deviation to that of its neighbours' differences: above it, it has structure. Noise
on a grid that was made twice as fine by zero filling has 1.3, dark tissue 1.6 to 2.5 and OCT's speckle 1.6 to 6."""
RAYLEIGH_DEVIATION = math.sqrt(2 - math.pi / 2)
"""Standard deviation of a Rayleigh variable whose two Gaussian parts have the deviation 1."""
RAYLEIGH_SKEWNESS = 2 * math.sqrt(math.pi) * (math.pi - 3) / (4 - math.pi) ** 1.5


@dataclass(frozen=True)
class OwnNoise:
    """The noise of one image, in each of its channels.

    Attributes:
        wavelet: standard deviation from the finest wavelet coefficients.
        background: from the background, corrected where it is Rayleigh-like; None where there is none that tells.
        kinds: of the background: ``"gaussian"``, ``"rayleigh"`` or None.

    Example:
        >>> OwnNoise([1.0, 2.0], [1.5, None], ["rayleigh", None]).deviations
        [1.5, 2.0]
    """

    wavelet: list[float]
    background: list[float | None]
    kinds: list[str | None]

    @property
    def deviations(self) -> list[float]:
        """The background's where there is one, else the wavelet estimate."""
        pairs = zip(self.wavelet, self.background, strict=True)
        return [wavelet if background is None else background for wavelet, background in pairs]


def own_noise(image: torch.Tensor) -> OwnNoise:
    """Estimate the noise of an image.

    Args:
        image: ``[C, *spatial]``, floating point.

    Raises:
        ValueError: if it has another shape or type.

    Example:
        >>> found = own_noise(2 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)))
        >>> round(found.deviations[0]), found.background  # nothing bright: no background
        (2, [None])
    """
    if not isinstance(image, torch.Tensor) or image.ndim < 2 or not image.is_floating_point():
        raise ValueError(f"Got an image {_kind(image)}, expected a floating point tensor [C, *spatial].")
    found = [background_noise(channel.detach().cpu().double().numpy()) for channel in image]
    return OwnNoise(
        wavelet=[float(value) for value in noise_deviation(image.detach()[None].double()).flatten()],
        background=[None if one is None else one[0] for one in found],
        kinds=[None if one is None else one[1] for one in found],
    )


def background_noise(channel: np.ndarray) -> tuple[float, str] | None:
    """The noise of a background: standard deviation and ``"gaussian"`` or ``"rayleigh"``.

    The background are the voxels below Otsu's threshold that are connected to the image's border. It tells the noise
    where it is dark, even and no mask. Where it is skewed to the right as the magnitude of complex noise is, as in MR,
    its deviation is divided by that of a Rayleigh variable, 0.655, which gives the noise of bright voxels (Gudbjartsson
    & Patz 1995).

    Args:
        channel: one channel, 2-D or 3-D.

    Returns:
        None for signals, and where there is no such background: too few voxels, structure, or a mask.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> scan = np.hypot(draw.normal(0, 3, (96, 96)), draw.normal(0, 3, (96, 96)))
        >>> scan[40:60, 40:60] += 100
        >>> deviation, kind = background_noise(scan)
        >>> round(deviation), kind
        (3, 'rayleigh')
    """
    window = WINDOW.get(channel.ndim)
    if window is None or min(channel.shape) < window or channel.min() == channel.max():
        return None
    threshold = threshold_otsu(channel)
    inside = _background(channel <= threshold, window)
    values = channel[inside]
    if values.size < FEWEST_VOXELS or np.mean(values == values.min()) > LARGEST_FLOOR_SHARE:
        return None
    deviation = float(values.std())
    contrast = channel[channel > threshold].mean() - values.mean()
    if contrast < LEAST_CONTRAST * deviation or deviation > MOST_UNEVEN * _neighbour_deviation(channel, inside):
        return None
    if skew(values) > RAYLEIGH_SKEWNESS / 2:
        return deviation / RAYLEIGH_DEVIATION, "rayleigh"
    return deviation, "gaussian"


def _background(low: np.ndarray, window: int) -> np.ndarray:
    """Where a window of low voxels is connected to the border by low voxels."""
    parts, _ = ndimage.label(low)
    border = np.unique(np.concatenate([parts.take(end, axis).ravel() for axis in range(low.ndim) for end in (0, -1)]))
    return ndimage.binary_erosion(np.isin(parts, border[border > 0]), np.ones((window,) * low.ndim), border_value=0)


def _neighbour_deviation(channel: np.ndarray, inside: np.ndarray) -> float:
    """The deviation of white noise whose neighbours differ as much as the voxels inside do."""
    squares = [
        np.diff(channel, axis=axis)[inside.take(range(1, channel.shape[axis]), axis)] ** 2
        for axis in range(channel.ndim)
    ]
    return math.sqrt(float(np.concatenate(squares).mean()) / 2)


def _kind(image: object) -> str:
    return f"of shape {tuple(image.shape)}, {image.dtype}" if isinstance(image, torch.Tensor) else repr(image)
