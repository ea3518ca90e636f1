from __future__ import annotations

import torch

from monai_ima.utils.checks import check_count

from .base import Perturbation
from .fields import smooth_field

__all__ = ["ControlPoints"]


class ControlPoints(Perturbation):
    """Base of the perturbations whose θ are the control points of a smooth field, in per cent.

    Args:
        points: control points of each axis, >= 1; 4 are a cubic polynomial, 1 a constant.
        norm: of θ.

    Raises:
        ValueError: if ``points`` is below 1 or ``norm`` another name.

    Example:
        >>> class Offset(ControlPoints):
        ...     name, title, unit, levels = "offset", "offset", "%", (1.0,)
        ...     def change(self, image, theta, constants):
        ...         return self.field(image, theta).expand_as(image)
        >>> Offset(points=2).apply(torch.zeros(1, 1, 3), torch.tensor([[0.0, 10.0]]))
        tensor([[[0.0000, 0.0500, 0.1000]]])
    """

    def __init__(self, points: int = 4, norm: str = "linf") -> None:
        super().__init__(norm)
        self.points = check_count("points", points, 1)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (self.points,) * (image.ndim - 2)

    def field(self, image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """The field as a fraction: ``[B, 1, *spatial]``, the same in all channels."""
        return smooth_field(theta / 100, image.shape[2:]).unsqueeze(1)
