"""What all readers of data sets share: names of the splits, the folder, hidden files, shares of a random split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SPLITS", "DamagedImageError", "check_fractions", "dataset_folder", "is_visible"]

SPLITS = ("train", "val", "test")


class DamagedImageError(ValueError):
    """An image file cannot be decoded.

    Example:
        >>> raise DamagedImageError("File scan.nii.gz cannot be read, expected a whole NIfTI file.")
        Traceback (most recent call last):
        ...
        monai_ima.data.folders.DamagedImageError: File scan.nii.gz cannot be read, expected a whole NIfTI file.
    """


def dataset_folder(dataset_dir: str | os.PathLike, expected: str = "the data set's files") -> Path:
    """The folder as a path.

    Args:
        dataset_dir: the folder.
        expected: what it should hold, for errors.

    Raises:
        FileNotFoundError: if it does not exist or is a file.
    """
    root = Path(dataset_dir)
    if not root.exists():
        raise FileNotFoundError(f"Dataset folder {root} does not exist, expected {expected} there.")
    if not root.is_dir():
        raise FileNotFoundError(f"Dataset folder {root} is a file, expected a folder.")
    return root


def is_visible(path: Path) -> bool:
    """Whether no part of a relative path is hidden or an archive's __MACOSX."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def check_fractions(fractions: Sequence[float]) -> None:
    """Shares of train, val and test.

    Raises:
        ValueError: if they are not three numbers > 0 that add up to 1.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"Got fractions {tuple(fractions)}, expected three positive numbers that add up to 1.")
