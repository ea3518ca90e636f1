from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

__all__ = ["image_spacing"]


def image_spacing(image: Any) -> torch.Tensor | None:
    """mm per voxel of a batch of ``MetaTensor``: float64 ``[B, d]``; None of a tensor without an affine.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 1, 4, 4), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0]))[None])
        >>> image_spacing(image).tolist()
        [[2.0, 3.0]]
        >>> image_spacing(torch.zeros(1, 1, 4, 4)) is None
        True
    """
    if not isinstance(image, MetaTensor) or "affine" not in image.meta:
        return None
    axes = image.ndim - 2
    affine = torch.as_tensor(image.meta["affine"], dtype=torch.float64)
    affine = affine.expand(len(image), *affine.shape) if affine.ndim == 2 else affine
    if not 1 <= axes <= 3 or len(affine) != len(image):
        return None
    return torch.stack([torch.as_tensor(affine_to_spacing(one, r=axes)) for one in affine])
