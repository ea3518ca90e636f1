"""ε in words that people understand: how much a perturbation of that size changes a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from monai_ima.utils.plain_numbers import plain_number

from .parts import ImageValues, Units

__all__ = ["ParameterSize", "PixelSize", "image_values"]


def image_values(counts: Sequence[int], dimensions: int | None = None) -> ImageValues:
    """The fewest, the median and the most values of one sample.

    Args:
        counts: for each sample how many values noise may change; at least one sample.
        dimensions: of space; None where they are not known.

    Example:
        >>> image_values([784, 784, 1000]).median
        784.0
    """
    return ImageValues(fewest=min(counts), median=float(median(counts)), most=max(counts), dimensions=dimensions)


@dataclass(frozen=True)
class PixelSize:
    """What ε is worth in a pixel: in L2 the root mean square over all pixels, in L∞ the most that any of them changes.

    In L2 it is ``ε / sqrt(n)``, n the number of values of a sample that noise may change; of samples of several sizes
    the median, and texts say "about".

    Args:
        norm: ``"l2"`` or ``"linf"``.
        units: of the image files; None: those that the network sees.
        values: of a sample; None where that is unknown.
        bounds: lowest and highest intensity that the network sees, each None where there is none; None where they are
            unknown.

    Attributes:
        factor: the size in a pixel of ε = 1; None where it is unknown, and in L∞ without units, where it is ε itself.

    Example:
        >>> size = PixelSize("l2", Units("grey levels", 255.0), image_values([784]))
        >>> size.text(0.5)
        '4.55 grey levels a pixel, RMS'
        >>> PixelSize("linf", Units("HU", 400.0)).text(0.02), PixelSize("linf").text(0.02)
        ('at most 8 HU a pixel', '')
        >>> PixelSize("linf", bounds=(0.0, 1.0)).described(0.02)
        'at most 2 % of the intensity range a pixel, 5.1 of 255 grey levels'
        >>> PixelSize("linf", values=image_values([187], dimensions=1), bounds=(0.0, 1.0)).described(0.02)
        'at most 2 % of the range a value'
    """

    norm: str
    units: Units | None = None
    values: ImageValues | None = None
    bounds: tuple[float | None, float | None] | None = None

    @classmethod
    def of(
        cls, norm: str | None, count: int | None, units: Units | None = None, measured: str | None = None
    ) -> PixelSize:
        """That of images of one size, ``count`` values each; None for norm or count where it is not known.

        Of a perturbation with parameters ``measured`` says what ε is, with its unit.
        """
        if measured is not None:
            return ParameterSize(norm or "linf", measured=measured)
        values = None if count is None else image_values([count])
        return cls("l2", units) if norm is None else cls(norm, units, values)

    @property
    def factor(self) -> float | None:
        per_unit = 1.0 if self.units is None else self.units.per_unit
        if self.norm == "linf":
            return None if self.units is None else per_unit
        return None if self.values is None else per_unit / math.sqrt(self.values.median)

    @property
    def element(self) -> str:
        """What a sample consists of: pixels, or of a signal values."""
        return "value" if self._signal else "pixel"

    @property
    def _signal(self) -> bool:
        return self.values is not None and self.values.dimensions in (0, 1)

    @property
    def name(self) -> str:
        """What a column or an axis of these sizes is called."""
        kind = f"at most in a {self.element}" if self.norm == "linf" else f"RMS a {self.element}"
        return f"{kind}, {self.unit}" if self.unit else kind

    @property
    def unit(self) -> str:
        """Of the sizes; an empty text for the network's."""
        return "" if self.units is None else self.units.name

    @property
    def scale(self) -> tuple[str, float] | None:
        """Name and factor of a second scale of ε; None where :attr:`factor` is."""
        return None if self.factor is None else (self.name, self.factor)

    def number(self, eps: float) -> str:
        """The size of ε in a pixel, without a unit; an empty text where it is unknown."""
        return "" if self.factor is None else plain_number(eps * self.factor, 3)

    def text(self, eps: float) -> str:
        """The size of ε in a pixel; an empty text where it is unknown, and in L∞ without units, where it is ε."""
        if self.factor is None:
            return ""
        size = f"{self.number(eps)} {self.unit}".rstrip() + f" a {self.element}"
        if self.norm == "linf":
            return f"at most {size}"
        varies = self.values is not None and self.values.fewest < self.values.most
        return f"{'about ' * varies}{size}, RMS"

    def share(self, eps: float) -> float | None:
        """The size of ε in a pixel as a share of the intensity range; None where that is unknown."""
        low, high = self.bounds or (None, None)
        if low is None or high is None or (self.norm == "l2" and self.values is None):
            return None
        size = eps if self.values is None or self.norm == "linf" else eps / math.sqrt(self.values.median)
        return size / (high - low)

    def described(self, eps: float) -> str:
        """:meth:`text`, with the share of the intensity range, and grey levels of 255, where the range is known."""
        share = self.share(eps)
        if share is None:
            return self.text(eps)
        range_ = f"{plain_number(100 * share, 2)} % of the {'range' if self._signal else 'intensity range'}"
        grey = f", {plain_number(255 * share, 2)} of 255 grey levels"
        levels = "" if self._signal or "grey" in self.unit else grey
        if self.units is not None:
            return f"{self.text(eps)}: {range_}{levels}"
        range_ += f" a {self.element}"
        return f"at most {range_}{levels}" if self.norm == "linf" else f"{range_}, RMS{levels}"


@dataclass(frozen=True)
class ParameterSize(PixelSize):
    """What ε of a perturbation with parameters is: a size in its unit.

    Args:
        norm: of the parameters.
        units: none.
        values: none.
        measured: what they measure, with its unit.

    Example:
        >>> ParameterSize("linf", measured="bias field, %").text(14.0)
        'bias field, %'
    """

    measured: str = ""

    @property
    def factor(self) -> float | None:
        return None

    def text(self, eps: float) -> str:
        return self.measured
