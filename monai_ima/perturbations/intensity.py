"""Changes of brightness and contrast that scanners make: everywhere alike, or as a smooth field."""

from __future__ import annotations

import torch

from .base import Constants, Perturbation
from .control_points import ControlPoints
from .fields import floor_of, range_of, scaled

__all__ = ["BaselineWander", "BiasField", "Gain", "GammaContrast", "IntensityShift"]

SMALLEST = 1e-12
"""Smallest base of a power, whose slope is infinite at 0."""


class IntensityShift(Perturbation):
    """Brightness and contrast: ``x + b R + c (x - mean)``; θ = (b, c) in per cent.

    R is the range of the sample's channel (highest minus lowest intensity), the mean that channel's.

    Args:
        norm: of θ.

    Example:
        >>> IntensityShift().apply(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[10.0, 20.0]]))
        tensor([[[0.0000, 1.2000]]])
    """

    name, title, unit = "intensity_shift", "brightness and contrast", "%"
    levels = (5.0, 10.0, 20.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (2,)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        mean = image.mean(dim=tuple(range(2, image.ndim)), keepdim=True)
        return {"range": range_of(image), "mean": mean}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        brighter = scaled(theta[:, 0], image) * constants["range"]
        return brighter + scaled(theta[:, 1], image) * (image - constants["mean"])


class GammaContrast(Perturbation):
    """Gamma correction: ``u^γ`` of the intensity u between the channel's lowest (0) and highest (1).

    θ is ``100 ln γ``: 10 % are γ = 1.105, -10 % are γ = 0.905. Intensities outside that range, which an earlier link
    of a chain may have made, are shifted as the nearest end of it.

    Args:
        norm: of θ.

    Example:
        >>> theta = 100 * torch.tensor([[2.0]]).log()
        >>> GammaContrast().apply(torch.tensor([[[0.0, 0.5, 1.0]]]), theta).round(decimals=4).abs()
        tensor([[[0.0000, 0.2500, 1.0000]]])
    """

    name, title, unit = "gamma", "contrast (gamma)", "%"
    levels = (10.0, 20.0, 40.0)
    largest = 300.0

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (1,)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"floor": floor_of(image), "range": range_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        extent = constants["range"]
        unit = ((image - constants["floor"]) / torch.where(extent > 0, extent, 1)).clamp(SMALLEST, 1)
        gamma = scaled(theta[:, 0], image).exp().expand_as(image)
        return extent * (unit.pow(gamma) - unit.pow(torch.ones_like(gamma)))


class BiasField(ControlPoints):
    """A smooth multiplicative field, as uneven coils make it: ``floor + (1 + field) (x - floor)``.

    θ are the control points of the field (:func:`~monai_ima.perturbations.fields.smooth_field`) in per cent; in the
    norm ``"linf"`` of size ε the field stays within ±ε % everywhere. The floor is the lowest intensity of the sample's
    channel: on z-scored images that of air, which no coil makes brighter.

    Args:
        points: control points of each axis, >= 1; 4 are a cubic polynomial, 1 a constant gain.
        norm: of θ.

    Raises:
        ValueError: if ``points`` is below 1 or ``norm`` another name.

    Example:
        >>> BiasField(points=1).apply(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[10.0]]))
        tensor([[[1.0000, 3.2000]]])
    """

    name, title, unit = "bias_field", "bias field", "%"
    levels = (10.0, 20.0, 40.0)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"floor": floor_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        return self.field(image, theta) * (image - constants["floor"])


class Gain(BiasField):
    """One factor for the whole image or signal: a :class:`BiasField` of one control point, in per cent.

    Args:
        norm: of θ.

    Example:
        >>> Gain().apply(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[50.0]]))
        tensor([[[0., 3.]]])
    """

    name, title = "gain", "gain"

    def __init__(self, norm: str = "linf") -> None:
        super().__init__(1, norm)


class BaselineWander(ControlPoints):
    """A smooth offset, the slow drift of a signal's baseline: ``x + field R``.

    θ are the field's control points in per cent of R, the range of the sample's channel; in the norm ``"linf"`` of size
    ε the baseline stays within ±ε % of it.

    Args:
        points: control points of each axis, >= 1.
        norm: of θ.

    Raises:
        ValueError: if ``points`` is below 1 or ``norm`` another name.

    Example:
        >>> BaselineWander(points=2).apply(torch.tensor([[[0.0, 1.0, 0.0]]]), torch.tensor([[0.0, 10.0]]))
        tensor([[[0.0000, 1.0500, 0.1000]]])
    """

    name, title, unit = "baseline_wander", "baseline wander", "%"
    levels = (5.0, 10.0, 20.0)

    def __init__(self, points: int = 6, norm: str = "linf") -> None:
        super().__init__(points, norm)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"range": range_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        return self.field(image, theta) * constants["range"]
