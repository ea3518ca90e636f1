"""What all readers of data sets share: splits and their shares, data lists, folders, hidden files, tables of counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai_ima.utils.checks import check_path, is_number

__all__ = [
    "ALL",
    "SPLITS",
    "DamagedImageError",
    "Datalist",
    "as_table",
    "check_fractions",
    "dataset_folder",
    "is_visible",
]

SPLITS = ("train", "val", "test")

ALL = "all"
"""Name of a split that is every scan of a folder."""

Item = dict[str, Any]
"""A sample: its image (array or file), its id, and what else is known of it."""

Datalist = dict[str, list[Item]]
"""Samples by split."""


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
        ValueError: if it is no path.
        FileNotFoundError: if it does not exist or is a file.
    """
    root = Path(check_path("dataset_dir", dataset_dir))
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
    numbers = isinstance(fractions, Sequence) and all(map(is_number, fractions))
    if not numbers or len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        given = tuple(fractions) if isinstance(fractions, Sequence) else fractions
        raise ValueError(f"Got fractions {given}, expected three positive numbers that add up to 1.")


def as_table(rows: Iterable[Sequence[object]], width: int = 8) -> str:
    """Rows of cells as text: the first cell at the left of its column, the others at the right.

    Args:
        rows: the cells, all rows equally long.
        width: of every column.

    Example:
        >>> print(as_table([("beats", "N", "S"), ("train", 12, 3)]))
        beats          N       S
        train         12       3
    """
    return "\n".join(f"{first:{width}}" + "".join(f"{cell!s:>{width}}" for cell in others) for first, *others in rows)
