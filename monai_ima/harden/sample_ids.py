"""Where the sample ids of a bundle's training come from."""

from __future__ import annotations

from enum import Enum

from monai_ima.utils.sample_ids import SAMPLE_ID

from .parts import Parts
from .reading import SEPARATOR

__all__ = ["SampleIdSource", "find_sample_ids"]

STRIPPING = ("ToNumpy", "Lambda", "TorchVision", "ToPIL", "ToCupy", "NumpyD")
"""Transforms that drop an image's file name."""
CACHES_ON_DISK = ("PersistentDataset", "CacheNTransDataset", "LMDBDataset", "GDSDataset")
KEEPS_ITEMS = ("Dataset", "CacheDataset", "SmartCacheDataset", *CACHES_ON_DISK)
"""Datasets that hand all keys of an item of their ``data`` to the transforms."""


class SampleIdSource(Enum):
    """Where sample ids come from; the value describes it to the user."""

    PRESENT = "in the data already"
    FILES = "names of the image files"
    DATA = "added to the items of the data (monai_ima.data.add_sample_ids)"
    TRANSFORM = "added by SampleIdd in front of the transforms"
    DATASET = "numbers of the dataset's items (monai_ima.data.add_sample_ids)"


def find_sample_ids(parts: Parts, image_key: str) -> SampleIdSource:
    """Ids that are present, else the images' file names where these survive the transforms, else ids that are added."""
    config, dataset = parts.config, parts.dataset
    if dataset is None:
        return SampleIdSource.FILES
    for path, value in config.reachable(dataset.id):
        named = isinstance(value, str) and SAMPLE_ID in value
        if named or path.endswith(f"{SEPARATOR}{SAMPLE_ID}"):
            return SampleIdSource.PRESENT
        if isinstance(value, dict) and str(value.get("_target_", "")).endswith("SampleIdd"):
            return SampleIdSource.PRESENT
    if dataset.name not in CACHES_ON_DISK and _names_survive(parts, image_key):
        return SampleIdSource.FILES
    if "data" in dataset.config and dataset.name in KEEPS_ITEMS:
        return SampleIdSource.DATA
    loaded = any(transform.name.startswith("LoadImage") for transform in parts.transforms)
    return SampleIdSource.TRANSFORM if loaded and "transform" in dataset.config else SampleIdSource.DATASET


def _names_survive(parts: Parts, image_key: str) -> bool:
    """The images are loaded from files, and no transform is known to drop their names."""
    loaded = False
    for transform in parts.transforms:
        if image_key not in parts.config.keys(transform):
            continue
        loaded |= transform.name.startswith("LoadImage")
        if transform.name.startswith(STRIPPING) or parts.config.argument(transform, "track_meta") is False:
            return False
    return loaded
