"""How large a voxel is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils import ImageMetaKey

__all__ = ["image_spacing", "scan_affines", "scan_spacings", "where_all_known"]

PICTURE = re.compile(r"\.(png|jpe?g|tiff?|bmp|gif|webp|npy|npz)$", re.IGNORECASE)
"""Files that do not say how large a pixel is."""


def image_spacing(image: Any) -> torch.Tensor | None:
    """mm per voxel of a batch of ``MetaTensor``: float64 ``[B, d]``; None where one of them does not know it.

    Raises:
        ValueError: if there is neither one affine for all nor one each.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 1, 4, 4), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0]))[None])
        >>> image_spacing(image).tolist()
        [[2.0, 3.0]]
        >>> image_spacing(torch.zeros(1, 1, 4, 4)) is None
        True
    """
    if isinstance(image, MetaTensor) and len(_affines(image)) != len(image):
        raise ValueError(
            f"Got {len(_affines(image))} affines for {len(image)} images, expected one each: a MetaTensor that was "
            "indexed with a tensor keeps those of all."
        )
    return where_all_known(scan_spacings(image))


def where_all_known(spacings: Sequence[Sequence[float] | None]) -> torch.Tensor | None:
    """Voxel sizes as one tensor: float64 ``[B, d]``; None where one is unknown.

    Example:
        >>> where_all_known([[1.0, 2.0], None]) is None
        True
    """
    known = [spacing for spacing in spacings if spacing is not None]
    return torch.tensor(known, dtype=torch.float64) if known and len(known) == len(spacings) else None


def scan_spacings(image: Any) -> list[list[float] | None]:
    """Size of a voxel along each axis of every scan of a batch, in mm; None where the image does not know it.

    MONAI gives pictures and arrays voxels of 1, as it gives scans of 1 mm: pictures, and scans without a file whose
    voxels are 1, do not know it. Nor do images that do not have one affine each.
    """
    if not isinstance(image, MetaTensor) or not 3 <= image.ndim <= 5 or len(_affines(image)) != len(image):
        return [None] * len(image)
    files = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    if isinstance(files, list | tuple) and len(files) == len(image):
        names = [str(file) for file in files]
    else:
        names = [str(files or "")] * len(image)
    return [_spacing(affine, name, image.ndim - 2) for affine, name in zip(_affines(image), names, strict=True)]


def scan_affines(image: Any) -> list[np.ndarray | None]:
    """``[4, 4]`` from voxels to mm of every volume of a batch ``[B, C, H, W, D]``; None where a volume does not know
    the size of its voxels, and of what is no volume.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 1, 4, 4, 4), affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0]))[None])
        >>> scan_affines(image)[0].shape, scan_affines(torch.zeros(1, 1, 4, 4, 4))
        ((4, 4), [None])
    """
    spacings = scan_spacings(image)
    if image.ndim != 5 or not isinstance(image, MetaTensor):
        return [None] * len(spacings)
    affines = [affine.detach().cpu().double().numpy() for affine in _affines(image)]
    return [None if spacing is None else affines[row] for row, spacing in enumerate(spacings)]


def _affines(image: MetaTensor) -> torch.Tensor:
    """One for each image, where there is one for all."""
    affines = torch.as_tensor(image.affine)
    return affines.expand(len(image), *affines.shape[-2:]) if affines.ndim == 2 or len(affines) == 1 else affines


def _spacing(affine: torch.Tensor, file: str, axes: int) -> list[float] | None:
    if len(affine) <= axes or PICTURE.search(file):
        return None
    spacing = [float(value) for value in affine_to_spacing(affine, r=axes)]
    return None if not file and set(spacing) == {1.0} else spacing
