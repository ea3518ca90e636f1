"""What one unit of the intensities that a network sees is worth, read off a bundle's transforms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .reading import SEPARATOR, Component, TrainingConfig

__all__ = ["Normalisation", "find_normalisation"]

SHIFTED_LATER = ("Shift", "Scale", "Gaussian", "Contrast", "Noise", "Bias", "Gibbs", "Histogram", "Std", "Jitter")


@dataclass(frozen=True)
class Normalisation:
    """How a bundle scales intensities.

    Attributes:
        words: for the reader.
        scale: the network's units that span the usual intensities: the width of the range, or 1 standard deviation.
        bounds: valid intensities; None where noise has no limit to respect.
        slope: physical units in one unit of the network; None where that differs from image to image.
        unit: the physical unit, HU or intensity units.
    """

    words: str
    scale: float
    bounds: tuple[float, float] | None = None
    slope: float | None = None
    unit: str = "intensity units"

    def physical(self, eps: float) -> str:
        """ε in words, with its equivalent in physical units where there is one."""
        if self.slope is None or abs(self.slope) == 1:
            return ""
        return f"{eps * abs(self.slope):.3g} {self.unit}"


def find_normalisation(config: TrainingConfig, transforms: Sequence[Component], image: str) -> Normalisation | None:
    """The last normalisation of the images among a training's transforms, else what the metadata say of the values.

    None where neither is known.

    Args:
        config: the training config.
        transforms: of the training dataset.
        image: key of the images.
    """
    found = _described(config)
    for transform in transforms:
        if not _acts_on(config, transform, image):
            continue
        known = _read(config, transform)
        if known is not None:
            found = known
        elif found is not None and any(word in transform.name for word in SHIFTED_LATER):
            found = replace(found, bounds=None)
    return found


def _described(config: TrainingConfig) -> Normalisation | None:
    values = config.described("inputs", "image").get("value_range")
    if not isinstance(values, list) or len(values) != 2:
        return None
    lo, hi = (_number(value) for value in values)
    if lo is None or hi is None or not lo < hi:
        return None
    return Normalisation(f"values in [{lo:g}, {hi:g}] (metadata)", hi - lo, (lo, hi))


def _acts_on(config: TrainingConfig, transform: Component, image: str) -> bool:
    keys = config.value(f"{transform.id}{SEPARATOR}keys")
    return keys is None or image in ([keys] if isinstance(keys, str) else keys)


def _read(config: TrainingConfig, transform: Component) -> Normalisation | None:
    def argument(name: str, default: Any = None) -> Any:
        return config.value(f"{transform.id}{SEPARATOR}{name}", default)

    name = re.sub("(?:d|D|Dict)$", "", transform.name)
    unit = "HU" if config.described("inputs", "image").get("modality") == "CT" else "intensity units"
    if name == "ScaleIntensityRange":
        a_min, a_max, b_min, b_max = (_number(argument(key)) for key in ("a_min", "a_max", "b_min", "b_max"))
        if b_min is None or b_max is None or not b_min < b_max:
            return None
        bounds = (b_min, b_max) if argument("clip") is True else None
        words = f"{transform.name} to [{b_min:g}, {b_max:g}]"
        if a_min is None or a_max is None:
            return Normalisation(words, b_max - b_min, bounds)
        words = f"{transform.name}, {a_min:g} .. {a_max:g} {unit} to [{b_min:g}, {b_max:g}]"
        return Normalisation(words, b_max - b_min, bounds, (a_max - a_min) / (b_max - b_min), unit)
    if name == "ScaleIntensityRangePercentiles":
        b_min, b_max = _number(argument("b_min")), _number(argument("b_max"))
        if b_min is None or b_max is None or not b_min < b_max:
            return None
        bounds = (b_min, b_max) if argument("clip") is True else None
        return Normalisation(f"{transform.name} to [{b_min:g}, {b_max:g}] of each image", b_max - b_min, bounds)
    if name == "ScaleIntensity":
        lo, hi = _number(argument("minv", 0.0)), _number(argument("maxv", 1.0))
        if lo is None or hi is None or not lo < hi:
            return None
        return Normalisation(f"{transform.name} to [{lo:g}, {hi:g}] of each image", hi - lo, (lo, hi))
    if name == "NormalizeIntensity":
        divisor = _number(argument("divisor"))
        if divisor:
            return Normalisation(f"{transform.name} by {divisor:g} {unit}", 1.0, None, divisor, unit)
        return Normalisation(f"{transform.name}: one unit is one standard deviation of each image", 1.0)
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
