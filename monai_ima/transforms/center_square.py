from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import CenterSpatialCrop, MapTransform, Transform

__all__ = ["CenterSquareCrop", "CenterSquareCropd"]


class CenterSquareCrop(Transform):
    """Crop ``[C, *spatial]`` to the largest square (cube) in its centre.

    Scans of one data set may differ in width, and width may go with the class (in Kermany's OCT scans it does).
    Stretching them to one size or padding them would hand the network that cue; a square from the centre does not.

    Example:
        >>> CenterSquareCrop()(torch.zeros(1, 300, 200)).shape
        torch.Size([1, 200, 200])
    """

    def __call__(self, img: torch.Tensor) -> torch.Tensor:
        side = min(img.shape[1:])
        return CenterSpatialCrop([side] * (img.ndim - 1))(img)


class CenterSquareCropd(MapTransform):
    """Dictionary version of :class:`CenterSquareCrop`.

    Args:
        keys: keys of the images.
        allow_missing_keys: see ``monai.transforms.MapTransform``.

    Example:
        >>> CenterSquareCropd("image")({"image": torch.zeros(1, 300, 200)})["image"].shape
        torch.Size([1, 200, 200])
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.cropper = CenterSquareCrop()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.cropper(item[key])
        return item
