"""The rows of a CSV file that people have written or a spreadsheet has saved."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from monai_ima.utils.text import read_text

__all__ = ["csv_rows"]

OTHER_SEPARATORS = (";", "\t", "|")


def csv_rows(table: Path, columns: Sequence[str], expected: str) -> csv.DictReader:
    """The rows of a CSV file, separated by commas; ``Image`` and ``IMAGE`` are the column ``image``.

    Args:
        table: the file, in UTF-8.
        columns: those that it must have, in small letters.
        expected: what the file should have, for the errors.

    Raises:
        ValueError: if the file lacks a column, or has a column twice.
    """
    rows = csv.DictReader(StringIO(read_text(table)), skipinitialspace=True)
    names = list(rows.fieldnames or [])
    missing = [column for column in columns if column not in map(_plain, names)]
    if missing:
        separator = next((mark for mark in OTHER_SEPARATORS if len(names) == 1 and mark in names[0]), None)
        found = "" if separator is None else f" separated by commas (found {separator!r} in its first line)"
        raise ValueError(
            f"File {table} has no column {missing[0]}, expected {expected}{found}; it has {', '.join(names) or 'none'}."
        )
    rows.fieldnames = [name if name in columns else _plain(name) for name in names]
    return rows


def _plain(name: str) -> str:
    return name.strip().lower()
