"""Subgroups of the samples: scanner, site, sex, age band."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from monai_ima.utils.sample_ids import SAMPLE_ID
from monai_ima.utils.text import read_text

from .parts import Gap, Groups
from .statistics import score_intervals

__all__ = ["check_groups", "read_column", "subgroups"]

MAX_GROUPS = 20


def read_column(file: str | Path, column: str) -> dict[str, str]:
    """A column of a CSV file that has the samples' ids in its column ``sample_id``.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it has no such columns, an id twice, or an empty value; it names the file and the line.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(
            f"File {file} does not exist, expected a CSV file with the columns sample_id, {column}."
        )
    found: dict[str, str] = {}
    reader = csv.DictReader(io.StringIO(read_text(file)))
    for name in (SAMPLE_ID, column):
        if name not in (reader.fieldnames or []):
            given = ", ".join(reader.fieldnames or []) or "none"
            raise ValueError(f"File {file} has no column {name!r}, expected it among its columns ({given}).")
    for row in reader:
        sample_id, value = (row[SAMPLE_ID] or "").strip(), (row[column] or "").strip()
        if not sample_id or not value:
            raise ValueError(f"Line {reader.line_num} of {file} lacks a sample_id or a {column}, expected both.")
        if sample_id in found:
            raise ValueError(
                f"Line {reader.line_num} of {file} has the sample_id {sample_id!r} again, expected each once."
            )
        found[sample_id] = value
    return found


def check_groups(column: str, groups: Mapping[str, str], sample_ids: Sequence[str]) -> list[str]:
    """The names of the samples' groups, sorted.

    Args:
        column: what the samples are grouped by.
        groups: the group of every sample id.
        sample_ids: of the samples.

    Raises:
        ValueError: if a sample has no group, or there are more than 20 groups.
    """
    missing = [name for name in sample_ids if name not in groups]
    if missing:
        raise ValueError(
            f"Sample {missing[0]!r} has no {column} ({len(missing)} in all), expected one for each sample."
        )
    names = sorted({groups[name] for name in sample_ids})
    if len(names) > MAX_GROUPS:
        raise ValueError(
            f"Column {column} has {len(names)} different values, expected at most {MAX_GROUPS}: make bands of numbers."
        )
    return names


def subgroups(
    column: str,
    groups: Mapping[str, str],
    sample_ids: Sequence[str],
    values: Sequence[Sequence[float | None]],
    levels: Sequence[float],
    patients: Sequence[str] | None = None,
) -> Groups:
    """The mean at every ε for each subgroup, and the largest gap between two of them.

    Args:
        column: what the samples are grouped by.
        groups: the group of every sample id.
        sample_ids: of the samples, ``[N]``.
        values: ``[N, L]``, accuracy or Dice of every sample at every ε; None where it has none.
        levels: ``[L]``.
        patients: of the samples; None means that every sample is a patient of its own.

    Raises:
        ValueError: if a sample has no group, or there are more than 20 groups.
    """
    names = check_groups(column, groups, sample_ids)
    table = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    means, intervals, sizes = {}, {}, {}
    for name in names:
        rows = [k for k, sample_id in enumerate(sample_ids) if groups[sample_id] == name]
        own = None if patients is None else [patients[k] for k in rows]
        sizes[name] = len(rows)
        means[name] = [_mean(table[rows, k]) for k in range(len(levels))]
        intervals[name] = score_intervals(table[rows].tolist(), own)
    return Groups(
        column=column,
        samples=sizes,
        values=means,
        intervals=intervals,
        largest_gap=_largest_gap(means, levels),
    )


def _largest_gap(means: dict[str, list[float]], levels: Sequence[float]) -> Gap | None:
    gaps = []
    for k, level in enumerate(levels):
        known = {name: values[k] for name, values in means.items() if not np.isnan(values[k])}
        if len(known) > 1:
            high, low = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
            gaps.append((known[high] - known[low], level, (high, low)))
    if not gaps:
        return None
    gap, level, between = max(gaps, key=lambda found: found[0])
    return Gap(level=level, between=between, gap=gap)


def _mean(column: np.ndarray) -> float:
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else float("nan")
