"""Whom a file is of: a number in its name, a pattern over its name, or a CSV file."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from .csv_rows import csv_rows

__all__ = ["patients_by_file"]

COLUMNS = ("file", "patient")


def patients_by_file(
    files: Iterable[Path],
    root: Path,
    pattern: str | None = None,
    table: str | os.PathLike | None = None,
) -> dict[Path, str]:
    """The patient of every file.

    Args:
        files: below ``root``.
        root: the data's folder.
        pattern: regular expression with one group, the patient, that is searched for in the file's name.
        table: CSV file with the columns file (path below ``root``, or the name alone) and patient, one row a file.

    Returns:
        ``{file: patient}``; empty where neither pattern nor table is given.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if both are given, the pattern is no such expression or does not match a file's name, or the table
            lacks a column, a file or a patient, or has two patients for a file.

    Example:
        >>> patients_by_file([Path("data/sick/p07_left.png")], Path("data"), pattern="(p[0-9]+)_")
        {PosixPath('data/sick/p07_left.png'): 'p07'}
    """
    if pattern is not None and table is not None:
        raise ValueError("Got both a patient_pattern and a patient_csv, expected one of them.")
    if pattern is not None:
        return _by_pattern(files, pattern)
    return {} if table is None else _by_table(list(files), root, Path(table))


def _by_pattern(files: Iterable[Path], pattern: str) -> dict[Path, str]:
    expected = "a regular expression with one group, such as '^([^_]+)_'"
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"Got patient_pattern {pattern!r} ({error}), expected {expected}.") from None
    if expression.groups != 1:
        raise ValueError(f"Got patient_pattern {pattern!r} with {expression.groups} groups, expected {expected}.")
    patients = {}
    for file in files:
        match = expression.search(file.name)
        if match is None or not match[1]:
            raise ValueError(
                f"The patient_pattern {pattern!r} does not match {file}, expected a patient in every name."
            )
        patients[file] = match[1]
    return patients


def _by_table(files: list[Path], root: Path, table: Path) -> dict[Path, str]:
    patients = _read_table(table)
    names = Counter(file.name for file in files)
    found = {}
    for file in files:
        path = file.relative_to(root).as_posix()
        if path not in patients and names[file.name] > 1 and file.name in patients:
            raise ValueError(
                f"File {table} names {file.name}, which {names[file.name]} files of {root} are called, expected their "
                "paths below that folder."
            )
        named = {patients[name] for name in (path, file.name) if name in patients}
        if not named:
            raise ValueError(f"File {table} lacks {path}, expected a row for every file of {root}.")
        found[file] = _only(named, path, table)
    return found


def _read_table(table: Path) -> dict[str, str]:
    if not table.is_file():
        raise FileNotFoundError(f"File {table} does not exist, expected a CSV file with the columns file and patient.")
    rows = csv_rows(table, COLUMNS, "the columns file and patient")
    named: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        file, patient = ((row[name] or "").strip() for name in COLUMNS)
        if not file or not patient:
            raise ValueError(f"Line {rows.line_num} of {table} lacks a file or a patient, expected both.")
        named[file.replace("\\", "/").removeprefix("./")].add(patient)
    return {file: _only(patients, file, table) for file, patients in named.items()}


def _only(patients: set[str], file: str, table: Path) -> str:
    if len(patients) > 1:
        raise ValueError(f"File {table} has the patients {' and '.join(sorted(patients))} for {file}, expected one.")
    return next(iter(patients))
