"""Table of labelled images: a CSV file with the columns image, label and, where it is known, patient."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .class_layout import in_order
from .csv_rows import csv_rows
from .image_files import IMAGE_SUFFIXES
from .pictures import is_picture

__all__ = ["TableRow", "is_table", "read_table", "table_classes"]

COLUMNS = ("image", "label")
EXPECTED = "the columns image, label and, where it is known, patient"


@dataclass(frozen=True)
class TableRow:
    """An image, the name of its class, and its patient where the table has one; ``name`` is as the table has it.

    Example:
        >>> TableRow(Path("data/a.png"), "a.png", "scar", None).label
        'scar'
    """

    file: Path
    name: str
    label: str
    patient: str | None


def is_table(dataset_dir: str | os.PathLike) -> bool:
    """Whether a path is that of a table rather than of a folder."""
    return Path(dataset_dir).suffix.lower() == ".csv"


def read_table(
    table: str | os.PathLike, folder: str | os.PathLike | None = None, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> list[TableRow]:
    """The rows of a table.

    Args:
        table: CSV file in UTF-8; images are paths below a folder, or absolute ones.
        folder: of the images; None: the table's own.
        suffixes: endings of image files, in small letters.

    Raises:
        FileNotFoundError: if the table or an image does not exist.
        ValueError: if the table lacks a column, a cell or all rows, names an image twice or a file that is no image.
    """
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(f"File {table} does not exist, expected a CSV file with {EXPECTED}.")
    rows = csv_rows(table, COLUMNS, EXPECTED, optional=["patient"])
    columns = (*COLUMNS, *(["patient"] if "patient" in (rows.fieldnames or []) else []))
    root = table.parent if folder is None else Path(folder)
    found = [_row(table, root, row, columns, rows.line_num, suffixes) for row in rows]
    if not found:
        raise ValueError(f"File {table} holds no images, expected a row for each, with {EXPECTED}.")
    (file, count), *_ = Counter(row.file for row in found).most_common(1)
    if count > 1:
        raise ValueError(f"File {table} names {file} {count} times, expected each image once.")
    return found


def table_classes(table: str | os.PathLike) -> list[str]:
    """The labels of a table, sorted; by number where all of them are integers.

    Raises:
        ValueError: as :func:`read_table` does, and if there are fewer than two.
        FileNotFoundError: as :func:`read_table` does.
    """
    names = {row.label for row in read_table(table)}
    if len(names) < 2:
        raise ValueError(f"File {table} holds one class only, {names.pop()}, expected at least two.")
    return in_order(names)


def _row(
    table: Path, root: Path, row: dict[str, str | None], columns: Sequence[str], line: int, suffixes: Sequence[str]
) -> TableRow:
    cells = {column: (row[column] or "").strip() for column in columns}
    for column, cell in cells.items():
        if not cell:
            raise ValueError(f"Line {line} of {table} has no {column}, expected one in every row.")
    name = cells["image"].replace("\\", "/").removeprefix("./")
    file = root / name
    if not file.exists():
        raise FileNotFoundError(f"Line {line} of {table} names {file}, which does not exist, expected an image.")
    if not is_picture(file, suffixes):
        expected = f"expected a file ending in {', '.join(suffixes)}"
        raise ValueError(f"Line {line} of {table} names {file}, {expected}.")
    return TableRow(file, name, cells["label"], cells.get("patient"))
