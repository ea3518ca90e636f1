"""Sample ids: what tells the samples of a data set apart, from epoch to epoch and from machine to machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.utils import CommonKeys, ImageMetaKey

__all__ = [
    "SAMPLE_ID",
    "batch_files",
    "batch_patients",
    "batch_sample_ids",
    "check_labels",
    "common_folder",
    "folder_of",
    "item_file",
    "relative_id",
]

SAMPLE_ID = "sample_id"
PATIENT = "patient"


def relative_id(file: str | os.PathLike, root: str | os.PathLike | None = None) -> str:
    """The id of a file: its path below ``root`` with forward slashes; the path as it is without a root.

    Raises:
        ValueError: when the file lies outside ``root``.
    """
    path = Path(file)
    if root is None:
        return path.as_posix()
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix()
    except ValueError:
        raise ValueError(f"File {path} lies outside {root}, expected it below that folder.") from None


def common_folder(dataset: Any, image_key: str = CommonKeys.IMAGE) -> str | None:
    """The folder that holds all image files of a MONAI dataset; None when its items name no files."""
    items = getattr(dataset, "data", None)
    if not isinstance(items, Sequence) or not items:
        return None
    return folder_of(item_file(item.get(image_key)) for item in items if isinstance(item, Mapping))


def folder_of(files: Iterable[str | os.PathLike | None]) -> str | None:
    """The folder that holds all of these files, None among them left out; None without any."""
    folders = {os.path.dirname(os.path.abspath(file)) for file in files if file is not None}
    return os.path.commonpath(folders) if folders else None


def item_file(value: Any) -> str | os.PathLike | None:
    """The file that an image's entry in a data list names, of several (one a modality) the first; None for none."""
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value if isinstance(value, (str, os.PathLike)) and str(value) else None


def batch_files(image: torch.Tensor) -> list[str] | None:
    """The files that a batch of images was read from, when its metadata say so."""
    if not isinstance(image, MetaTensor):
        return None
    files = image.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    if isinstance(files, str):
        files = [files]
    if not isinstance(files, Sequence) or len(files) != len(image) or not all(isinstance(f, str) and f for f in files):
        return None
    return list(files)


def batch_sample_ids(
    batch: Any, image: torch.Tensor, sample_key: str | None = None, root: str | None = None
) -> list[str]:
    """The ids of a batch's samples: what :class:`SampleIdd` wrote, else the image file's name below ``root``.

    Args:
        batch: a collated batch, usually a dictionary.
        image: its images, ``[B, C, *spatial]``.
        sample_key: key of the ids; None means ``"sample_id"`` where there is one, else the file names.
        root: folder that file names are made relative to.

    Raises:
        ValueError: when there is no id, or not one for each sample.
    """
    key = SAMPLE_ID if sample_key is None else sample_key
    if isinstance(batch, Mapping) and key in batch:
        return _one_for_each(batch[key], len(image), key, "ids")
    files = batch_files(image) if sample_key is None else None
    if files is None:
        raise ValueError(
            f"The batch holds no sample ids under {key!r}"
            + ("" if sample_key else " and its images name no file")
            + ", expected the transform monai_ima.transforms.SampleIdd among the training transforms."
        )
    return [relative_id(file, root) for file in files]


def check_labels(label: Any, batch: Any, image: Any, sample_key: str | None = None, root: str | None = None) -> Any:
    """The label, unless it is missing altogether.

    Args:
        label: what ``prepare_batch`` found; None where there is none.
        batch: see :func:`batch_sample_ids`.
        image: see :func:`batch_sample_ids`.
        sample_key: see :func:`batch_sample_ids`.
        root: see :func:`batch_sample_ids`.

    Raises:
        ValueError: when there is none; names the first sample where it is known.
    """
    if label is not None:
        return label
    try:
        whose = f"of sample {batch_sample_ids(batch, image, sample_key, root)[0]!r} "
    except (ValueError, TypeError):
        whose = ""
    raise ValueError(f"The batch {whose}holds no labels, expected them under 'label': an attack needs to know them.")


def batch_patients(batch: Any, count: int) -> list[str | None]:
    """Whom a batch's samples are of, from its key ``patient``; None for each where it does not say.

    Raises:
        ValueError: when there is not one for each of the ``count`` samples.
    """
    found = batch.get(PATIENT) if isinstance(batch, Mapping) else None
    if found is None:
        return [None] * count
    return list(_one_for_each(found, count, PATIENT, "patients"))


def _one_for_each(values: Any, count: int, key: str, kind: str) -> list[str]:
    texts = [str(value) for value in (values.flatten().tolist() if isinstance(values, torch.Tensor) else values)]
    if len(texts) != count:
        raise ValueError(f"Key {key!r} holds {len(texts)} {kind} for {count} samples, expected one each.")
    return texts
