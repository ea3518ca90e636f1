"""Which ε: what scanner-like changes of given images amount to in L2, L∞ and RMS a pixel."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import log_ndtr

from monai_ima.attacks.channels import attacked_channels
from monai_ima.perturbations import BiasField
from monai_ima.results.parts import ImageValues, Units
from monai_ima.results.pixel_size import image_values
from monai_ima.utils.checks import check_channels, check_count, check_seed, shown
from monai_ima.utils.tensors import plain

from .own_noise import OwnNoise, own_noise

__all__ = ["RULE", "ChannelNoise", "ScannerChange", "Suggestion", "noise_size", "suggest"]

BIAS_PERCENT = (1, 2, 5, 10)
EPS_MAX_BIAS = 5
"""The bias field, in per cent, that ε_max has to reach."""
DOSE_PERCENT = 50
DRAWS = 8
"""Random bias fields an image."""
DIGITS = 2
RULE = (
    f"ε_max is the larger of a repeat scan's noise and a {EPS_MAX_BIAS} % bias field, as root mean square a pixel; "
    "in L2 times the root of the number of values."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScannerChange:
    """What a change of the images amounts to, in the units that the network sees: medians over images.

    Attributes:
        title: in words.
        perturbation: its name on the command line; None for noise that is added as it is.
        size: in ``unit``; of noise its standard deviation in standard deviations of the image's own.
        unit: of ``size``.
        l2: Euclidean length of the change of an image.
        linf: the most that a value changes.
        rms: root mean square over the values.
    """

    title: str
    perturbation: str | None
    size: float
    unit: str
    l2: float
    linf: float
    rms: float


@dataclass(frozen=True)
class ChannelNoise:
    """The images' own noise in one channel: quartiles over images, in the units that the network sees.

    Attributes:
        channel: its index.
        wavelet: lower quartile, median and upper quartile of the wavelet estimate.
        background: the same of the background's, corrected where it is Rayleigh-like; None without one.
        with_background: how many images have one.
        rayleigh: in how many of them it is Rayleigh-like.
    """

    channel: int
    wavelet: tuple[float, float, float]
    background: tuple[float, float, float] | None
    with_background: int
    rayleigh: int


@dataclass(frozen=True)
class Suggestion:
    """What was measured, and the budgets that go with it.

    Attributes:
        images: how many were looked at.
        values: how many values of an image noise may change.
        units: of the image files; None where they are not known.
        noise: of each channel that noise may change.
        changes: what they amount to.
        eps_max: by norm, see :data:`RULE`.
        levels: by norm, 0 and the changes up to ``eps_max``, as ``--levels`` takes them.
    """

    images: int
    values: ImageValues
    units: Units | None
    noise: list[ChannelNoise]
    changes: list[ScannerChange]
    eps_max: dict[str, float]
    levels: dict[str, list[float]]

    def as_json(self) -> dict[str, Any]:
        """Everything, with the rule, as JSON has it."""
        units = None if self.units is None else {"name": self.units.name, "per_unit": self.units.per_unit}
        return {**asdict(self), "values": self.values.model_dump(), "units": units, "rule": RULE}


def suggest(
    samples: Iterable[tuple[str, torch.Tensor]],
    units: Units | None = None,
    channels: Sequence[int] | None = None,
    limit: int = 20,
    seed: int = 0,
) -> Suggestion:
    """Measure what scanner-like changes of the images amount to, and suggest ε_max and levels.

    Bias fields are random ones of exactly that size, eight an image. Half the dose doubles the variance of the noise:
    it adds as much as the image has. Two scans of one object differ by sqrt(2) of it.

    Args:
        samples: name and image ``[C, *spatial]``, as the network sees it.
        units: of the image files.
        channels: that noise may change; None means all.
        limit: look at that many images, >= 1.
        seed: of the bias fields.

    Raises:
        ValueError: if there is no image, or one is no image, constant or not finite; names it.

    Example:
        >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> found = suggest([("a", 100 + 2 * noise)])
        >>> [(change.title, round(change.rms)) for change in found.changes[-2:]]
        [('50 % dose', 2), ("a repeat scan's noise", 3)]
    """
    limit, channels = check_count("limit", limit, 1), check_channels(channels)
    generator = torch.Generator().manual_seed(check_seed(seed))
    noise: list[OwnNoise] = []
    sizes: list[list[tuple[float, float, float]]] = []
    counts: list[int] = []
    for name, image in samples:
        image = _checked(name, image, channels)
        if noise and len(noise[0].wavelet) != len(image):
            raise ValueError(
                f"Image {name!r} has {len(image)} channel(s), expected {len(noise[0].wavelet)} as the others have."
            )
        noise.append(own_noise(image))
        counts.append(image.numel())
        sizes.append(_sizes(image, noise[-1].deviations, generator))
        if len(counts) == limit:
            break
    if not counts:
        raise ValueError("Got no images, expected at least one.")
    medians = np.median(np.array(sizes), axis=0).tolist()
    changes = [ScannerChange(*kind, *size) for kind, size in zip(_kinds(), medians, strict=True)]
    indices = range(len(noise[0].wavelet)) if channels is None else channels
    eps_max = {norm: _eps_max(changes, of) for norm, of in (("l2", "l2"), ("linf", "rms"))}
    return Suggestion(
        images=len(counts),
        values=image_values(counts),
        units=units,
        noise=[_channel(noise, k, index) for k, index in enumerate(indices)],
        changes=changes,
        eps_max=eps_max,
        levels={"l2": _levels(changes, "l2", eps_max["l2"]), "linf": _levels(changes, "rms", eps_max["linf"])},
    )


def noise_size(deviations: Sequence[float], count: int) -> tuple[float, float, float]:
    """L2, L∞ and RMS of independent Gaussian noise, from closed forms.

    Args:
        deviations: of the channels, >= 0.
        count: values of each channel, >= 1.

    Returns:
        The root of the expected square of the L2 length, the median of the largest size of a value, and the RMS.

    Example:
        >>> [round(size, 2) for size in noise_size([2.0], 10000)]
        [200.0, 7.96, 2.0]
    """
    squares = [deviation**2 for deviation in deviations]
    positive = [deviation for deviation in deviations if deviation > 0]
    if not positive:
        return 0.0, 0.0, 0.0

    def over_median(most: float) -> float:
        """Log of the probability that no value is larger than ``most``, over that of a median."""
        tails = (2 * math.exp(log_ndtr(-most / deviation)) for deviation in positive)
        return count * sum(math.log1p(-tail) for tail in tails) - math.log(0.5)

    largest = max(positive)
    most = brentq(over_median, 1e-12 * largest, 40 * largest)
    return math.sqrt(count * sum(squares)), float(most), math.sqrt(sum(squares) / len(squares))


def _checked(name: str, image: torch.Tensor, channels: tuple[int, ...] | None) -> torch.Tensor:
    if not isinstance(image, torch.Tensor) or image.ndim < 2 or image.numel() == 0:
        raise ValueError(f"Image {name!r} is {shown(image)}, expected a tensor [C, *spatial] with values.")
    image = plain(image).detach().float()
    image = image[attacked_channels(channels, image[None])]
    if not image.isfinite().all():
        raise ValueError(f"Image {name!r} holds NaN or infinity, expected finite intensities.")
    if (image.flatten(1).amax(1) == image.flatten(1).amin(1)).all():
        raise ValueError(f"Image {name!r} is constant, expected different intensities.")
    return image


def _kinds() -> list[tuple[str, str | None, float, str]]:
    """Title, perturbation, size and unit of the changes, in the order of :func:`_sizes`."""
    return [
        *((f"{percent} % bias field", BiasField.name, float(percent), BiasField.unit) for percent in BIAS_PERCENT),
        (f"{DOSE_PERCENT} % dose", "ct_dose", float(DOSE_PERCENT), "%"),
        ("a repeat scan's noise", None, math.sqrt(2), "own SD"),
    ]


def _sizes(
    image: torch.Tensor, deviations: Sequence[float], generator: torch.Generator
) -> list[tuple[float, float, float]]:
    """L2, L∞ and RMS of the changes of one image."""
    one_percent = _one_percent_bias(image, generator)
    l2, linf, rms = noise_size(deviations, image[0].numel())
    bias = [tuple(percent * size for size in one_percent) for percent in BIAS_PERCENT]
    return [*bias, (l2, linf, rms), tuple(math.sqrt(2) * size for size in (l2, linf, rms))]  # type: ignore[list-item]


def _one_percent_bias(image: torch.Tensor, generator: torch.Generator) -> tuple[float, float, float]:
    """Medians over random bias fields of 1 %; the change is proportional to the field."""
    fitted = BiasField().fit(image[None])
    found = []
    for _ in range(DRAWS):
        theta = fitted.perturbation.norm.draw_of_length(fitted.zero(), torch.ones(1), generator)
        change = fitted.perturbation.change(fitted.image, theta, fitted.constants).double()
        l2 = float(torch.linalg.vector_norm(change))
        found.append((l2, float(change.abs().max()), l2 / math.sqrt(change.numel())))
    l2, linf, rms = np.median(np.array(found), axis=0).tolist()
    return l2, linf, rms


def _channel(noise: Sequence[OwnNoise], k: int, index: int) -> ChannelNoise:
    background = [one.background[k] for one in noise]
    known = [value for value in background if value is not None]
    return ChannelNoise(
        channel=index,
        wavelet=_quartiles([one.wavelet[k] for one in noise]),
        background=_quartiles(known) if known else None,
        with_background=len(known),
        rayleigh=sum(one.kinds[k] == "rayleigh" for one in noise),
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(np.array(values), (0.25, 0.5, 0.75)).tolist()
    return low, middle, high


def _eps_max(changes: Sequence[ScannerChange], of: str) -> float:
    reached = [
        getattr(change, of)
        for change in changes
        if change.perturbation is None or (change.perturbation == BiasField.name and change.size == EPS_MAX_BIAS)
    ]
    return _rounded(max(reached))


def _levels(changes: Sequence[ScannerChange], of: str, eps_max: float) -> list[float]:
    sizes = {_rounded(getattr(change, of)) for change in changes}
    return [0.0, *sorted(size for size in sizes if 0 < size <= eps_max)]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
