"""Random noise of a fixed pattern and an adversarial local strength."""

from __future__ import annotations

import torch

from monai_ima.utils.checks import MAX_SEED, check_choice, check_count, check_positive

from .base import Constants
from .control_points import ControlPoints
from .fields import floor_of, noise_deviation, noise_pattern, range_of

__all__ = ["CTDose", "NoiseLevel", "RicianNoise", "Speckle"]

SMALLEST_SHARE = 1e-3


class _LocalNoise(ControlPoints):
    """Base of noise whose strength is a smooth field; below 0 the pattern is turned over.

    Args:
        points: control points of each axis, >= 1.
        seed: of the patterns, >= 0; each image has its own (:func:`~monai_ima.perturbations.fields.noise_pattern`).
        norm: of θ.
    """

    unit = "%"
    patterned = True
    patterns = 1

    def __init__(self, points: int = 4, seed: int = 0, norm: str = "linf") -> None:
        super().__init__(points, norm)
        self.seed = check_count("seed", seed, 0, MAX_SEED)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        pattern = noise_pattern(image, self.seed, self.patterns, self.stream)
        return {"pattern": pattern, "range": range_of(image), "floor": floor_of(image)}


class NoiseLevel(_LocalNoise):
    """Gaussian or Rician noise of a fixed pattern, whose local standard deviation is what an attack may choose.

    ``x + s R n`` with n the pattern and R the range of the sample's channel; Rician noise, that of magnitude images
    (MR), is ``floor + |x - floor + s R (n₁ + i n₂)|``. θ are the control points of the field s in per cent: in the norm
    ``"linf"`` of size ε the noise has nowhere more than ε % of R as its standard deviation.

    Args:
        kind: ``"gaussian"`` or ``"rician"``.
        points: control points of each axis, >= 1.
        seed: of the patterns, >= 0; each image has its own.
        norm: of θ.

    Raises:
        ValueError: if a number is out of its range or a name another one.

    Example:
        >>> image = torch.zeros(1, 1, 64, 64)
        >>> image[..., 0] = 1
        >>> noise = NoiseLevel().apply(image, torch.full((1, 4, 4), 5.0)) - image
        >>> round(float(noise.std()), 2)
        0.05
    """

    name, title = "noise", "noise level"
    levels = (2.0, 5.0, 10.0)

    def __init__(self, kind: str = "gaussian", points: int = 4, seed: int = 0, norm: str = "linf") -> None:
        super().__init__(points, seed, norm)
        self.kind = check_choice("kind of noise", kind, ("gaussian", "rician"))
        self.patterns = 2 if kind == "rician" else 1

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        noise = (self.field(image, theta) * constants["range"]).unsqueeze(1) * constants["pattern"]
        if self.kind == "gaussian":
            return noise[:, 0]
        signal = (image - constants["floor"]).clamp_min(0)
        return torch.complex(signal + noise[:, 0], noise[:, 1]).abs() - signal


class RicianNoise(NoiseLevel):
    """:class:`NoiseLevel` of the kind ``"rician"``, under a name of its own.

    Args:
        points: control points of each axis, >= 1.
        seed: of the patterns, >= 0.
        norm: of θ.

    Example:
        >>> RicianNoise().kind
        'rician'
    """

    name, title = "rician", "noise level (Rician)"

    def __init__(self, points: int = 4, seed: int = 0, norm: str = "linf") -> None:
        super().__init__("rician", points, seed, norm)


class Speckle(_LocalNoise):
    """Multiplicative noise of a fixed pattern, as in OCT and ultrasound: ``floor + (1 + s n) (x - floor)``.

    θ are the control points of the field s, the local standard deviation of the factor, in per cent.

    Args:
        points: control points of each axis, >= 1.
        seed: of the patterns, >= 0; each image has its own.
        norm: of θ.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0]]]])
        >>> bool(Speckle(points=1).apply(image, torch.tensor([[[20.0]]]))[..., 0] == 0)  # nothing to multiply
        True
    """

    name, title = "speckle", "speckle"
    levels = (5.0, 10.0, 20.0)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        return self.field(image, theta) * (image - constants["floor"]) * constants["pattern"][:, 0]


class CTDose(_LocalNoise):
    """The noise that a lower dose adds: its variance rises as 1 / dose.

    θ are the control points of the local reduction r of the dose in per cent (50: half of it). To an image whose noise
    at the full dose has the standard deviation σ, a reduction by r adds independent noise of ``σ sqrt(r / (1 - r))``,
    of a fixed pattern. Below r = 0.1 % the root is rounded off, so that it has a slope at 0.

    Args:
        noise: σ in the units that the network sees, > 0 (of soft tissue in HU often 10 to 30); None: what is found in
            each image itself (:func:`~monai_ima.perturbations.fields.noise_deviation`).
        points: control points of each axis, >= 1.
        seed: of the patterns, >= 0; each image has its own.
        norm: of θ.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name.

    Example:
        >>> noise = CTDose(noise=20).apply(torch.zeros(1, 1, 64, 64), torch.full((1, 4, 4), 50.0))
        >>> round(float(noise.std()))
        20
    """

    name, title = "ct_dose", "dose reduction (CT)"
    levels = (25.0, 50.0, 75.0)
    largest = 99.0

    def __init__(self, noise: float | None = None, points: int = 4, seed: int = 0, norm: str = "linf") -> None:
        super().__init__(points, seed, norm)
        self.noise = None if noise is None else check_positive("noise", noise)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        found = noise_deviation(image)
        noise = found if self.noise is None else torch.full_like(found, self.noise)
        return {**super().constants(image, spacing), "noise": noise}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        reduction = self.field(image, theta).clamp(-0.99, 0.99)
        size = reduction.abs()
        added = reduction / ((size + SMALLEST_SHARE) * (1 - size)).sqrt()
        return constants["noise"] * added * constants["pattern"][:, 0]
