"""Where the sample ids of a bundle's training come from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from monai.utils import CommonKeys

from monai_ima.utils.sample_ids import SAMPLE_ID

from .reading import SEPARATOR, Component, TrainingConfig, readable

__all__ = ["SampleIdSource", "find_sample_ids", "sample_id_override"]

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


def find_sample_ids(
    config: TrainingConfig, dataset: Component | None, transforms: Sequence[Component], image_key: str
) -> SampleIdSource:
    """Ids that are present, else the images' file names where these survive the transforms, else ids that are added.

    Args:
        config: of a training or an evaluation.
        dataset: what its loader loads from; None where an expression makes it.
        transforms: of the dataset.
        image_key: key of the images that are loaded.
    """
    if dataset is None:
        return SampleIdSource.FILES
    for path, value in config.reachable(dataset.id):
        named = isinstance(value, str) and SAMPLE_ID in value
        if named or path.endswith(f"{SEPARATOR}{SAMPLE_ID}"):
            return SampleIdSource.PRESENT
        if isinstance(value, dict) and str(value.get("_target_", "")).endswith("SampleIdd"):
            return SampleIdSource.PRESENT
    if dataset.name not in CACHES_ON_DISK and _names_survive(config, transforms, image_key):
        return SampleIdSource.FILES
    if "data" in dataset.config and dataset.name in KEEPS_ITEMS:
        return SampleIdSource.DATA
    loaded = any(transform.name.startswith("LoadImage") for transform in transforms)
    return SampleIdSource.TRANSFORM if loaded and "transform" in dataset.config else SampleIdSource.DATASET


def sample_id_override(
    config: TrainingConfig,
    dataset: Component | None,
    argument: str,
    source: SampleIdSource,
    image_key: str,
    distinct: bool = False,
) -> dict[str, Any]:
    """The config id, and its new content, that adds sample ids where they have to be added.

    Args:
        config: of a training or an evaluation.
        dataset: what its loader loads from.
        argument: id of the loader's argument that names the dataset.
        source: where ids come from.
        image_key: key of the images that are loaded.
        distinct: crops of one item get ids of their own.
    """
    if dataset is None or source in (SampleIdSource.PRESENT, SampleIdSource.FILES):
        return {}
    target, name = "data.add_sample_ids", "data"
    if source is SampleIdSource.TRANSFORM:
        target, name = "transforms.with_sample_id", "transform"
    path = argument if source is SampleIdSource.DATASET else dataset.at(name)
    component = {"_target_": f"monai_ima.{target}", name: config.get(path), "keys": image_key}
    return {readable(path): {**component, "distinct": True} if distinct and name == "data" else component}


def _names_survive(config: TrainingConfig, transforms: Sequence[Component], image_key: str) -> bool:
    """The images are loaded from files, and no transform is known to drop their names.

    A transform that makes the images of several ones, other than MONAI's, is taken to drop them.
    """
    named: set[str] = set()
    for transform in transforms:
        keys = set(config.keys(transform))
        if transform.name.startswith("LoadImage"):
            named |= keys
        elif transform.name.startswith("ConcatItems") and keys & named:
            named.add(str(config.argument(transform, "name")))
        elif transform.name.startswith(STRIPPING) or config.argument(transform, "track_meta") is False:
            named -= keys
    return str(CommonKeys.IMAGE.value) in named or named == {image_key}
