"""Reader for retinal OCT scans in the layout of Kermany et al. 2018: ``{split}/{class}/CLASS-patient-n.jpeg``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .class_folders import class_folder_datalist
from .class_layout import count_table, picture_item
from .folders import Datalist, Item, dataset_folder, is_visible
from .pictures import PICTURE_SUFFIXES, is_picture

__all__ = ["CLASSES", "kermany_datalist", "scan_datalist", "summarize"]

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")


def kermany_datalist(dataset_dir: str | os.PathLike, **options: Any) -> Datalist:
    """The scans of a folder in Kermany's layout, split by patient: :func:`class_folder_datalist` of its four classes.

    Args:
        dataset_dir: the folder.
        options: ``per_class``, ``seed``, ``fractions``, ``check_images`` and ``evaluated`` of that function.

    Returns:
        for each of train, val and test a list of
        ``{"image": file, "label": class index, "patient": number, "sample_id": path below dataset_dir}``, sorted.

    Raises:
        FileNotFoundError: as that function does.
        ValueError: as that function does.
        DamagedImageError: when an image cannot be decoded.
    """
    return class_folder_datalist(dataset_dir, CLASSES, **options)


def scan_datalist(folder: str | os.PathLike, suffixes: Sequence[str] = PICTURE_SUFFIXES) -> list[Item]:
    """All images below a folder, whatever their names, for inference; hidden files and folders are left out.

    Args:
        folder: the folder.
        suffixes: with which the images' names end.

    Returns:
        a list of ``{"image": file, "sample_id": path below the folder}``, sorted.

    Raises:
        FileNotFoundError: when the folder is missing or holds no images.
    """
    root = dataset_folder(folder, "scans")
    files = sorted(
        path for path in root.rglob("*") if is_picture(path, suffixes) and is_visible(path.relative_to(root))
    )
    if not files:
        raise FileNotFoundError(f"Folder {root} holds no images, expected files ending in {', '.join(suffixes)}.")
    return [picture_item(file, root) for file in files]


def summarize(datalist: Datalist) -> str:
    """A table of ``scans/patients`` for each split and class, as :func:`kermany_datalist` returns them."""
    return count_table(datalist, CLASSES)
