from __future__ import annotations

import torch

from .base import Constants, Perturbation

__all__ = ["Additive"]


class Additive(Perturbation):
    """Noise that is added pixel by pixel, what attacks use by default; θ is the noise, its unit that of the image.

    Args:
        norm: ``"l2"`` or ``"linf"``.

    Raises:
        ValueError: if ``norm`` is another name.

    Example:
        >>> Additive("l2").size(torch.tensor([[[3.0, 4.0]]]), image=torch.zeros(1, 1, 2))
        tensor([5.])
    """

    name, title, unit = "additive", "noise, pixel by pixel", "units of the image"
    levels = ()

    def __init__(self, norm: str = "l2") -> None:
        super().__init__(norm)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return tuple(image.shape[1:])

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        return theta
