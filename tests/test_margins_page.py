"""The arithmetic of ``benchmarks/margins.py``'s page."""

from __future__ import annotations

from study_runs import table_rows

import margins

FOUND = [1.0, 2.0, 3.0, 10.0, None]
"""Over distances of 1: a median of 2.5, 90 % at 3 + 0.7 * 7 = 7.9, the last sample not crossing."""


def record(scale: float) -> dict:
    rows = {f"5|{start}": [None if value is None else scale * value for value in FOUND] for start in margins.STARTS}
    return {"smallest": [1.0] * len(FOUND), "rows": rows, "where": "by hand"}


def test_ratios_are_of_the_samples_that_cross_and_the_median_lies_between_the_middle_two():
    (name, *_) = margins.PARTS
    rows = table_rows(margins.section(margins.PARTS[name], record(1.0))[-1])
    for start in margins.STARTS:
        assert rows[start] == ["5", "0.800", "4", "1", "2.50", "7.90", "10.00"]


def test_the_summary_has_the_largest_of_all_parts():
    first, second, *_ = margins.PARTS
    rows = table_rows(margins.summary({first: record(1.0), second: record(2.0)}))
    for start in margins.STARTS:
        assert rows[start] == ["5.00", "15.80"]
