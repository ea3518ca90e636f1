"""A batch of which each sample knows how large its voxels are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.utils import ImageMetaKey

from .batch import EvaluationBatch

__all__ = ["ScanBatch", "spacing_of", "voxel_sizes"]

PICTURE = re.compile(r"\.(png|jpe?g|tiff?|bmp|gif|webp|npy|npz)$", re.IGNORECASE)
"""Files that do not say how large a pixel is."""


@dataclass(frozen=True)
class ScanBatch(EvaluationBatch):
    """A batch of scans, ready to be attacked.

    Attributes:
        spacings: size of a voxel along each axis, in mm, of every scan; None where the image does not know it.
    """

    spacings: list[list[float] | None]

    @property
    def spacing(self) -> torch.Tensor | None:
        """The same as a tensor, ``[B, d]``; None if some image does not know it."""
        return spacing_of(self.spacings)


def spacing_of(spacings: Sequence[list[float] | None]) -> torch.Tensor | None:
    """Voxel sizes as a tensor, ``[B, d]``; None if one is not known.

    Example:
        >>> spacing_of([[1.0, 2.0], None]) is None
        True
    """
    known = [spacing for spacing in spacings if spacing is not None]
    return torch.tensor(known, dtype=torch.float64) if len(known) == len(spacings) else None


def voxel_sizes(image: torch.Tensor) -> list[list[float] | None]:
    """Size of a voxel along each axis of every scan, in mm; None where the image does not know it."""
    if not isinstance(image, MetaTensor):
        return [None] * len(image)
    return [_spacing(scan) for scan in decollate_batch(image)]


def _spacing(scan: MetaTensor) -> list[float] | None:
    """MONAI gives pictures and arrays voxels of 1, as it gives scans of 1 mm."""
    spacing = [float(value) for value in np.asarray(scan.pixdim)[: scan.ndim - 1]]
    file = str(scan.meta.get(ImageMetaKey.FILENAME_OR_OBJ) or "")
    if len(spacing) != scan.ndim - 1 or PICTURE.search(file) or (not file and set(spacing) == {1.0}):
        return None
    return spacing
