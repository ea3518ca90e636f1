from __future__ import annotations

import warnings

import torch
from monai.networks.layers import gaussian_1d, separable_filtering

from .base import Constants, InMillimetres

__all__ = ["Blur"]

SMALLEST_DEVIATION = 0.05
"""In voxels; a narrower Gaussian is one voxel wide, to the last bit."""


class Blur(InMillimetres):
    """A Gaussian blur whose width differs from axis to axis, as of thick slices.

    θ ``[d]`` are the standard deviations along the axes in mm, whose sign does not matter; the image goes on beyond its
    edges as at them. Below 0.05 voxels nothing changes.

    Args:
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if ``spacing`` is not > 0 or ``norm`` another name; later, if a blur is wider than the image.

    Example:
        >>> Blur(spacing=1).apply(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), torch.tensor([[0.5]]))
        tensor([[[2.6387e-04, 1.0645e-01, 7.8657e-01, 1.0645e-01, 2.6387e-04]]])
    """

    name, title, unit = "blur", "blur (SD)", "mm"
    levels = (0.5, 1.0, 2.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (image.ndim - 2,)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        deviations = (theta / constants["spacing"]).abs()
        return torch.cat([_change(one, own) for one, own in zip(image.split(1), deviations, strict=True)])


def _change(image: torch.Tensor, deviations: torch.Tensor) -> torch.Tensor:
    largest = float(deviations.detach().max())
    if largest > max(image.shape[2:]):
        raise ValueError(
            f"Got a blur of {largest:.4g} voxels (SD) for images of {tuple(image.shape[2:])}, expected less."
        )
    wide = deviations > SMALLEST_DEVIATION
    kernels = [_kernel(deviation) for deviation in deviations.clamp_min(SMALLEST_DEVIATION)]
    blurred = separable_filtering(image, kernels, mode="replicate")
    return torch.where(wide.any(), blurred - image, 0)


def _kernel(deviation: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
        return gaussian_1d(deviation, approx="sampled", normalize=True)
