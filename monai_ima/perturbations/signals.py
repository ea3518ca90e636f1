from __future__ import annotations

import math

import torch

from monai_ima.utils.checks import is_number, shown

from .base import Constants, Perturbation
from .fields import range_of, scaled

__all__ = ["Powerline"]


class Powerline(Perturbation):
    """The hum of the mains in a signal: one wave of a fixed frequency.

    θ are the amplitudes of its sine and cosine in per cent of the range of the sample's channel; in the default norm
    ``"l2"`` the size is the amplitude of the wave.

    Args:
        frequency: in cycles per sample, between 0 and 0.5: 0.1 is 50 Hz at 500 samples a second.
        norm: of θ.

    Raises:
        ValueError: if ``frequency`` is not between 0 and 0.5 or ``norm`` another name; later, if the images are not
            1-D signals.

    Example:
        >>> signal = torch.tensor([[[0.0, 0.0, 0.0, 10.0]]])
        >>> Powerline(frequency=0.25).apply(signal, torch.tensor([[0.0, 20.0]])).round()
        tensor([[[ 2.,  0., -2., 10.]]])
    """

    name, title, unit = "powerline", "powerline hum", "%"
    levels = (2.0, 5.0, 10.0)

    def __init__(self, frequency: float = 0.1, norm: str = "l2") -> None:
        super().__init__(norm)
        if not is_number(frequency) or not 0 < frequency < 0.5:
            raise ValueError(f"Got frequency {shown(frequency)}, expected cycles per sample between 0 and 0.5.")
        self.frequency = float(frequency)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        if image.ndim != 3:
            raise ValueError(f"Got images of {image.ndim - 2} spatial axes for {self.name}, expected 1-D signals.")
        return (2,)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        self.shape(image)
        return {"range": range_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        phase = 2 * math.pi * self.frequency * torch.arange(image.shape[-1], dtype=torch.float64, device=image.device)
        wave = scaled(theta[:, 0], image) * phase.sin().to(image) + scaled(theta[:, 1], image) * phase.cos().to(image)
        return constants["range"] * wave
