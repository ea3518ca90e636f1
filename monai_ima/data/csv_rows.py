"""The rows of a CSV file that people have written or a spreadsheet has saved."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from monai_ima.utils.text import read_text

__all__ = ["csv_rows"]

OTHER_SEPARATORS = (";", "\t", "|")


def csv_rows(table: Path, columns: Sequence[str], expected: str, optional: Sequence[str] = ()) -> csv.DictReader:
    """The rows of a CSV file, separated by commas; ``Image`` and ``IMAGE`` are the column ``image``.

    Args:
        table: the file, in UTF-8.
        columns: those that it must have, in small letters.
        expected: what the file should have, for the errors.
        optional: further ones that it may have.

    Raises:
        ValueError: if the file lacks a column, or has a column twice.
    """
    rows = csv.DictReader(StringIO(read_text(table)), skipinitialspace=True)
    names = list(rows.fieldnames or [])
    plain = [name.strip().lower() for name in names]
    for column in (*columns, *optional):
        if plain.count(column) > 1:
            raise ValueError(f"File {table} has the column {column} {plain.count(column)} times, expected it once.")
    missing = [column for column in columns if column not in plain]
    if missing:
        separator = next((mark for mark in OTHER_SEPARATORS if len(names) == 1 and mark in names[0]), None)
        found = "" if separator is None else f" separated by commas (found {separator!r} in its first line)"
        raise ValueError(
            f"File {table} has no column {missing[0]}, expected {expected}{found}; it has {', '.join(names) or 'none'}."
        )
    rows.fieldnames = plain
    return rows
