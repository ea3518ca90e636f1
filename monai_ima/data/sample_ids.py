from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.data import Dataset

from monai_ima.utils.sample_ids import SAMPLE_ID, folder_of, item_file, relative_id

__all__ = ["add_sample_ids"]


def add_sample_ids(data: Any, keys: str | Sequence[str] = "image", distinct: bool = False) -> Any:
    """Data with a sample id in every item: the image file below the folder of all files, else the item's number.

    Ids of items rather than of transformed images survive whatever the transforms do, also where a cache on disk keeps
    no metadata (``PersistentDataset``). An id that is there already is kept.

    Args:
        data: a sequence of dictionaries, such as a data list, or a map-style dataset of them or of lists of them (crops
            of one item share its id).
        keys: keys of the images; the first one names the sample, of several files in it the first.
        distinct: crops of one item of a data set get ids of their own, for an evaluation.

    Returns:
        a list for a list, else a dataset that adds the ids.

    Raises:
        ValueError: if an item is no dictionary.

    Example:
        >>> add_sample_ids([{"image": "scans/a.png"}, {"image": "scans/b.png"}])[0]
        {'sample_id': 'a.png', 'image': 'scans/a.png'}
    """
    key = keys if isinstance(keys, str) else keys[0]
    if not isinstance(data, (list, tuple)):
        return _WithSampleIds(data, distinct)
    for k, item in enumerate(data):
        _check_item(k, item)
    files = [item_file(item.get(key)) for item in data]
    root = folder_of(files)
    ids = [_number(k) if file is None else relative_id(file, root) for k, file in enumerate(files)]
    if len(set(ids)) < len(ids):
        ids = [f"{sample_id}/{_number(k)}" for k, sample_id in enumerate(ids)]
    return [{SAMPLE_ID: sample_id, **item} for sample_id, item in zip(ids, data, strict=True)]


class _WithSampleIds(Dataset):
    def __init__(self, data: Any, distinct: bool) -> None:
        super().__init__(data)
        self.distinct = distinct

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        item = self.data[index]
        crops = item if isinstance(item, (list, tuple)) else [item]
        for crop in crops:
            _check_item(index, crop)
        number = _number(range(len(self.data))[index])
        ids = [f"{number}/{_number(k)}" if self.distinct and crops is item else number for k in range(len(crops))]
        named = [{SAMPLE_ID: sample_id, **crop} for sample_id, crop in zip(ids, crops, strict=True)]
        return named if crops is item else named[0]


def _check_item(k: int, item: object) -> None:
    if not isinstance(item, Mapping):
        raise ValueError(f"Item {k} of the data is of type {type(item).__name__}, expected a dictionary.")


def _number(k: int) -> str:
    return f"{k:06d}"
