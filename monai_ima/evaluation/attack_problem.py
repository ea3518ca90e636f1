"""What independent code is given to attack, and how its images are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monai_ima.criteria import ClassificationCriterion
from monai_ima.utils.checks import check_bounds, check_choice, check_positive
from monai_ima.utils.errors import SampleError
from monai_ima.utils.tensors import first_output

__all__ = ["AttackProblem", "Network", "check_images"]

Network = Callable[[torch.Tensor], Any]

SLACK = 1e-4
"""Relative rounding error with which another tool's image may leave ball and bounds."""


@dataclass(frozen=True)
class AttackProblem:
    """A network under attack; every tensor has one row per sample.

    Attributes:
        image: ``[N, C, *spatial]``, float32 or float64, inside the bounds.
        label: int64 ``[N]``, or as segmentations have it.
        norm: ``"l2"`` or ``"linf"``.
        eps: radius, > 0.
        bounds: ``(lo, hi)``, both exact in the image's type.
        classes: K of a classifier, else 0.
        batch: samples at a time.
    """

    network: Network
    image: torch.Tensor
    label: torch.Tensor
    norm: str
    eps: float
    bounds: tuple[float, float]
    classes: int
    batch: int

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images ``[B, C, *spatial]`` and labels, :attr:`batch` at a time, the last maybe fewer."""
        return zip(self.image.split(self.batch), self.label.split(self.batch), strict=True)

    def inside(self, noisy: torch.Tensor) -> torch.Tensor:
        """Which noisy images are finite and in ball and bounds, up to :data:`SLACK`: bool ``[N]``."""
        flat, (lo, hi) = noisy.flatten(1), self.bounds
        slack = SLACK * (hi - lo)
        order = 2 if self.norm == "l2" else float("inf")
        length = torch.linalg.vector_norm((flat - self.image.flatten(1)).double(), ord=order, dim=1)
        within = (flat.amin(dim=1) >= lo - slack) & (flat.amax(dim=1) <= hi + slack)
        return flat.isfinite().all(dim=1) & within & (length <= (1 + SLACK) * self.eps)

    @torch.no_grad()
    def correct(self, image: torch.Tensor) -> torch.Tensor:
        """Which images the network classifies as their labels say: bool ``[N]``."""
        pairs = zip(image.split(self.batch), self.label.split(self.batch), strict=True)
        criterion = ClassificationCriterion()
        return torch.cat([criterion(first_output(self.network(x)), y) for x, y in pairs])

    def robust_accuracy(self, noisy: torch.Tensor) -> float:
        """Share of the samples whose clean image is correct and whose noisy image, if it is inside, is so too."""
        noisy = noisy.to(self.image)
        misclassified = self.inside(noisy) & ~self.correct(noisy)
        return float((self.correct(self.image) & ~misclassified).double().mean())


def check_images(
    images: torch.Tensor, norm: str, eps: float, bounds: Sequence[float] | None
) -> tuple[torch.Tensor, tuple[float, float], float]:
    """The images inside the bounds, the bounds as the images' type has them, and ε.

    Raises:
        SampleError: if an image is not finite, or outside the bounds.
        ValueError: if the images' shape or type, ``norm``, ``eps`` or ``bounds`` are not as AttackProblem has them.
    """
    check_choice("norm", norm, ("l2", "linf"))
    radius = check_positive("eps", eps)
    image = torch.as_tensor(images).detach()
    if image.ndim < 3 or image.numel() == 0 or image.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"Got images of shape {tuple(image.shape)} and type {image.dtype}, expected float32 or float64 "
            "[N, C, *spatial] with at least one sample."
        )
    bad = ~image.flatten(1).isfinite().all(dim=1)
    if bad.any():
        raise SampleError(int(bad.nonzero()[0]), "has an image with NaN or infinity, expected finite values only.")
    given = check_bounds(bounds) or (float(image.min()) - radius, float(image.max()) + radius)
    lo, hi = (float(torch.tensor(bound, dtype=image.dtype)) for bound in given)
    flat, slack = image.flatten(1), 1e-3 * (hi - lo)
    outside = (flat.amin(dim=1) < lo - slack) | (flat.amax(dim=1) > hi + slack)
    if outside.any():
        row = int(outside.nonzero()[0])
        found = f"{float(flat[row].min()):.4g} to {float(flat[row].max()):.4g}"
        raise SampleError(row, f"has intensities {found}, expected them inside the bounds {lo:g} to {hi:g}.")
    return image.clamp(lo, hi), (lo, hi), radius
