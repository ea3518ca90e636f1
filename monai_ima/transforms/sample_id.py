from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from monai.utils import ImageMetaKey

from monai_ima.utils.checks import check_path
from monai_ima.utils.sample_ids import SAMPLE_ID, item_file, relative_id

__all__ = ["SampleIdd", "with_sample_id"]


class SampleIdd(MapTransform):
    """Write a stable id for every sample, by which IMA keeps its margin.

    The id is the path of the image file below ``root``, with forward slashes, so that a margin table survives a move
    of the data folder. It is read from the value at the first key: a path (before ``LoadImaged``) or an image with
    ``filename_or_obj`` in its metadata (after it); of several paths (one a modality) the first counts. An id that is
    there already is kept. All random crops of one scan get the same id and so share a margin.

    Args:
        keys: keys of the images; the first one names the sample.
        root: data folder that the ids are relative to; None keeps the paths as they are.
        id_key: key to write the id to.
        allow_missing_keys: see ``monai.transforms.MapTransform``.

    Raises:
        ValueError: (when called) when the item names no file, the file lies outside ``root``, or the id that is there
            is neither a string nor an integer.

    Example:
        >>> SampleIdd("image", root="/data")({"image": "/data/train/scan_1.nii.gz"})["sample_id"]
        'train/scan_1.nii.gz'
    """

    def __init__(
        self,
        keys: KeysCollection,
        root: str | os.PathLike | None = None,
        id_key: str = SAMPLE_ID,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.root = None if root is None else check_path("root", root)
        self.id_key = id_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.id_key in item:
            given = item[self.id_key]
            if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
                raise ValueError(f"Key {self.id_key!r} holds {given!r}, expected a string or an integer.")
            return item
        key = self.first_key(item)
        item[self.id_key] = relative_id(self._file(item.get(key), key), self.root)
        return item

    @staticmethod
    def _file(value: Any, key: Hashable) -> str | os.PathLike:
        file = item_file(value.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(value, MetaTensor) else value)
        if file is None:
            raise ValueError(
                f"Key {key!r} holds {type(value).__name__} without a file name, expected a path or an image with "
                f"{str(ImageMetaKey.FILENAME_OR_OBJ)!r} in its metadata."
            )
        return file


def with_sample_id(
    transform: Sequence[Callable] | Callable | None, keys: KeysCollection, root: str | os.PathLike | None = None
) -> Compose:
    """A dataset's transforms with :class:`SampleIdd` in front, in one flat ``Compose`` as caching datasets want it.

    Args:
        transform: a ``Compose``, one transform, several or None.
        keys: see :class:`SampleIdd`.
        root: see :class:`SampleIdd`.
    """
    first = SampleIdd(keys, root)
    if type(transform) is Compose:
        flat = transform.flatten()
        flat.transforms = (first, *flat.transforms)
        return flat
    if transform is None:
        return Compose([first])
    return Compose([first, *(transform if isinstance(transform, Sequence) else [transform])])
