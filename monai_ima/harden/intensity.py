"""How a bundle scales intensities, inferred from its transforms: physical units in one unit that the network sees."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from monai_ima.results.parts import Units
from monai_ima.utils.scaling import scaling_transform

from .reading import MISSING, Component, TrainingConfig

__all__ = ["Normalisation", "find_normalisation"]

UNNAMED, GREY_LEVELS = "intensity units", "grey levels"
BYTE = 255
"""The highest grey level of images of 8 bits."""
SHIFTED_LATER = ("Shift", "Scale", "Gaussian", "Contrast", "Noise", "Bias", "Gibbs", "Histogram", "Std", "Jitter")


@dataclass(frozen=True)
class Normalisation:
    """How a bundle scales intensities.

    Attributes:
        description: in words.
        scale: the network's units that span the usual intensities: the width of the range, or 1 standard deviation.
        bounds: valid intensities; None where noise has no limit to respect.
        slope: physical units in one unit of the network; None where that differs from image to image.
        unit: the physical unit: HU, grey levels (of 0 .. 255) or intensity units.
        deviations: of images that are divided by their own standard deviation what that is called, and how many of it
            are one unit of the network (of each channel's own where they are divided one by one).
        described: the metadata say so; no transform does it.
    """

    description: str
    scale: float
    bounds: tuple[float, float] | None = None
    slope: float | None = None
    unit: str = UNNAMED
    deviations: tuple[str, float] | None = None
    described: bool = False

    @property
    def file_units(self) -> Units | None:
        """The unit of the image files; None where it differs from image to image, or is the network's, unnamed."""
        if self.slope is None or (abs(self.slope) == 1 and self.unit == UNNAMED):
            return None
        return Units(self.unit, abs(self.slope))

    @property
    def units(self) -> Units | None:
        """That of the image files, else the standard deviation of each image; None where neither is known."""
        return self.file_units or (None if self.deviations is None else Units(*self.deviations))


def find_normalisation(config: TrainingConfig, transforms: Sequence[Component], image: str) -> Normalisation | None:
    """The normalisations among a training's transforms, composed; else the metadata's range.

    None where neither is known.

    Args:
        config: the training config.
        transforms: of the training dataset.
        image: key of the images.
    """
    normalisation, shifted = None, False
    for transform in transforms:
        keys = config.keys(transform)
        if keys and image not in keys:
            continue
        name = re.sub("(?:d|D|Dict)$", "", transform.name)
        if name in STEPS:
            step = STEPS[name](transform.name, partial(_argument, config, transform))
            normalisation, shifted = (None if step is None else _after(normalisation, step, _unit(config))), False
        else:
            shifted |= any(kind in name for kind in SHIFTED_LATER)
    normalisation = normalisation or _described(config)
    return replace(normalisation, bounds=None) if normalisation is not None and shifted else normalisation


@dataclass(frozen=True)
class _Step:
    """One normalisation.

    Attributes:
        name: of the transform.
        slope: units of its input in one unit of its output; None where that differs from image to image.
        source: the range of its input that it maps to ``target``.
        target: the range that it maps to, or None.
        clips: no value lies outside of the target.
        shift: what it subtracts from its input, None where that is not one number.
        channels: it divides each channel by a number of its own, of which ``slope`` is the largest.
        whose: what its numbers are taken of where they differ from image to image.
    """

    name: str
    slope: float | None
    source: tuple[float, float] | None = None
    target: tuple[float, float] | None = None
    clips: bool = False
    shift: float | None = None
    channels: bool = False
    whose: str = "each image"


def _described(config: TrainingConfig) -> Normalisation | None:
    values = config.described("inputs", "image").get("value_range")
    if not isinstance(values, list) or len(values) != 2:
        return None
    lo, hi = (_number(value) for value in values)
    if lo is None or hi is None or not lo < hi:
        return None
    return Normalisation(f"values in [{lo:g}, {hi:g}] (metadata)", hi - lo, (lo, hi), described=True)


def _unit(config: TrainingConfig) -> str:
    return "HU" if config.described("inputs", "image").get("modality") == "CT" else UNNAMED


def _argument(config: TrainingConfig, transform: Component, name: str, default: Any = None) -> Any:
    """A transform's argument; :data:`MISSING` where it needs an expression."""
    return config.argument(transform, name, MISSING) if transform.at(name) in config else default


def _range(name: str, argument: Callable[..., Any]) -> _Step | None:
    given = argument("b_min"), argument("b_max")
    lo, hi = (0.0, 1.0) if given == (None, None) else map(_number, given)
    if lo is None or hi is None or not lo < hi:
        return None
    clips = argument("clip") is True and given != (None, None)
    a_min, a_max = _number(argument("a_min")), _number(argument("a_max"))
    if a_min is None or a_max is None or a_min == a_max:
        return _Step(name, None, None, (lo, hi), clips, whose=_whose(argument))
    return _Step(name, (a_max - a_min) / (hi - lo), (a_min, a_max), (lo, hi), clips)


def _whole(name: str, argument: Callable[..., Any]) -> _Step | None:
    lo, hi = _number(argument("minv", 0.0)), _number(argument("maxv", 1.0))
    if lo is None or hi is None or not lo < hi:
        return None
    return _Step(name, None, None, (lo, hi), True, whose=_whose(argument))


def _divided(name: str, argument: Callable[..., Any]) -> _Step | None:
    divisor = argument("divisor")
    if divisor is None:
        return _Step(name, None, whose=_whose(argument))
    divisors = [_number(value) for value in (divisor if isinstance(divisor, list) else [divisor])]
    known = [value for value in divisors if value is not None and value > 0]
    if not known or len(known) < len(divisors):
        return None
    shift = None if argument("nonzero", False) else _number(argument("subtrahend"))
    return _Step(name, max(known), shift=shift, channels=isinstance(divisor, list))


def _named(name: str, argument: Callable[..., Any]) -> _Step | None:
    """Our ``intensity_scaling``, as the transform of MONAI's that it makes."""
    scale = argument("scale")
    if scale is MISSING:
        return None
    name, arguments = scaling_transform(scale)
    return STEPS[name.removesuffix("d")](name, arguments.get)


def _whose(argument: Callable[..., Any]) -> str:
    return "each channel of each image" if argument("channel_wise", False) is True else "each image"


STEPS: dict[str, Callable[[str, Callable[..., Any]], _Step | None]] = {
    "ScaleIntensityRange": _range,
    "ScaleIntensityRangePercentiles": _range,
    "ScaleIntensity": _whole,
    "NormalizeIntensity": _divided,
    "intensity_scaling": _named,
}
"""MONAI's normalisations, and our name for three of them, as :class:`_Step`; None where an argument is unknown."""


def _after(before: Normalisation | None, step: _Step, unit: str) -> Normalisation:
    """A normalisation composed with the one before it."""
    start = f"{before.description}, then " if before else ""
    slope = before.slope if before else 1.0
    slope = None if slope is None or step.slope is None or step.channels else slope * step.slope
    if before is not None:
        unit = before.unit
    elif unit == UNNAMED and (step.source == (0, BYTE) or (step.slope, step.shift) in ((BYTE, 0), (BYTE, None))):
        unit = GREY_LEVELS
    input_unit = unit if before is None else "units"
    deviations = None if before is None or before.deviations is None else _scaled(before.deviations, step)
    if step.target is not None:
        lo, hi = step.target
        source = f", {step.source[0]:g} .. {step.source[1]:g} {input_unit} to [{lo:g}, {hi:g}]" if step.source else ""
        description = f"{start}{step.name}{source or f' to [{lo:g}, {hi:g}] of {step.whose}'}"
        return Normalisation(description, hi - lo, step.target if step.clips else None, slope, unit, deviations)
    if step.slope is None:
        deviations = "SD of the image", 1.0
        return Normalisation(
            f"{start}{step.name}: one unit is one standard deviation of {step.whose}",
            1.0,
            unit=unit,
            deviations=deviations,
        )
    bounds = None
    if before is not None and before.bounds is not None and step.shift is not None and not step.channels:
        bounds = (before.bounds[0] - step.shift) / step.slope, (before.bounds[1] - step.shift) / step.slope
    divisor = f"up to {step.slope:g}, each channel its own" if step.channels else f"{step.slope:g} {input_unit}"
    scale = before.scale / step.slope if before is not None else 1.0
    return Normalisation(f"{start}{step.name} by {divisor}", scale, bounds, slope, unit, deviations)


def _scaled(deviations: tuple[str, float], step: _Step) -> tuple[str, float] | None:
    """The same standard deviations after a step that scales all images alike; None after any other."""
    name, count = deviations
    return None if step.slope is None or step.channels else (name, count * abs(step.slope))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
