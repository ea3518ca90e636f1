"""Bootstrap intervals against an independent computation, subgroups against a table made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from monai_ima.results.statistics import bootstrap_intervals, score_intervals
from monai_ima.results.subgroups import read_column, subgroups


def test_the_intervals_are_scipys():
    rng = np.random.default_rng(3)
    values = rng.random((80, 3)) < [0.9, 0.5, 0.1]
    found = bootstrap_intervals(values.astype(float).tolist(), resamples=20000)
    for column, (lo, hi) in zip(values.T, found, strict=True):
        other = stats.bootstrap(
            (column.astype(float),),
            np.mean,
            n_resamples=20000,
            method="percentile",
            random_state=np.random.default_rng(7),
        )
        assert lo == pytest.approx(other.confidence_interval.low, abs=0.008)
        assert hi == pytest.approx(other.confidence_interval.high, abs=0.008)


def test_whole_patients_are_drawn():
    """Samples of a patient agree: the interval is that of the patients, wider than that of the samples."""
    rng = np.random.default_rng(4)
    of_patient = rng.random(25)
    patients = [str(k) for k in np.repeat(np.arange(25), 8)]
    values = np.repeat(of_patient, 8)[:, None].tolist()
    ((lo, hi),) = bootstrap_intervals(values, patients, resamples=20000)
    other = stats.bootstrap(
        (of_patient,), np.mean, n_resamples=20000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    assert (lo, hi) == pytest.approx((other.low, other.high), abs=0.008)
    ((low, high),) = bootstrap_intervals(values, resamples=2000)
    assert high - low < (hi - lo) / 2


def test_patients_count_by_their_samples():
    """Two patients with 1 and 3 samples: the mean over samples of every draw, listed by hand."""
    values = [[1.0], [0.0], [0.0], [0.0]]
    found = bootstrap_intervals(values, ["a", "b", "b", "b"], resamples=4000, confidence=0.3)
    assert found == [(0.25, 0.25)]
    assert bootstrap_intervals(values, ["a", "b", "b", "b"], resamples=4000, confidence=0.9) == [(0.0, 1.0)]


def test_missing_values_are_left_out():
    values = [[1.0, None], [1.0, math.nan], [1.0, 0.5]]
    (ones, half) = bootstrap_intervals(values)
    assert ones == (1.0, 1.0)
    assert half == (0.5, 0.5)
    assert all(math.isnan(end) for end in bootstrap_intervals([[None], [None]])[0])


def test_intervals_repeat_and_refuse():
    values = np.random.default_rng(0).random((30, 2)).tolist()
    assert bootstrap_intervals(values) == bootstrap_intervals(values)
    assert bootstrap_intervals(values) != bootstrap_intervals(values, seed=1)
    with pytest.raises(ValueError, match="Got 3 patients for 30 samples"):
        bootstrap_intervals(values, ["a", "b", "c"])
    with pytest.raises(ValueError, match="at least one of each"):
        bootstrap_intervals([])
    with pytest.raises(ValueError, match="Got resamples 0"):
        bootstrap_intervals(values, resamples=0)


def test_subgroups_by_hand():
    groups = {"a": "Siemens", "b": "GE", "c": "Siemens", "d": "GE", "e": "GE"}
    values = [[1, 0], [1, 1], [0, 0], [1, 1], [1, 0]]
    found = subgroups("scanner", groups, list("abcde"), values, [0.0, 1.5])
    assert found.samples == {"GE": 3, "Siemens": 2}
    assert found.values["GE"] == pytest.approx([1.0, 2 / 3])
    assert found.values["Siemens"] == [0.5, 0.0]
    assert found.intervals["Siemens"] == [None, None], "two samples say nothing of how much others differ"
    gap = found.largest_gap
    assert (gap.level, gap.between) == (1.5, ("GE", "Siemens"))
    assert gap.gap == pytest.approx(2 / 3)
    assert found.column == "scanner"
    alone = subgroups("site", dict.fromkeys("abcde", "1"), list("abcde"), values, [0.0, 1.5])
    assert alone.largest_gap is None


def test_a_table_of_groups_is_read_and_checked(tmp_path):
    file = tmp_path / "who.csv"
    file.write_text("sample_id,sex,site\nx/1.png,F,Ulm\nx/2.png, M ,Bonn\n", encoding="utf-8-sig")
    assert read_column(file, "sex") == {"x/1.png": "F", "x/2.png": "M"}
    with pytest.raises(
        ValueError, match=r"has no column 'age', expected it among its columns \(sample_id, sex, site\)"
    ):
        read_column(file, "age")
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        read_column(tmp_path / "none.csv", "sex")
    file.write_text("sample_id,sex\na,F\nb,\n")
    with pytest.raises(ValueError, match=r"Line 3 of .* lacks a sample_id or a sex"):
        read_column(file, "sex")
    file.write_text("sample_id,sex\na,F\na,M\n")
    with pytest.raises(ValueError, match=r"Line 3 of .* has the sample_id 'a' again"):
        read_column(file, "sex")
    with pytest.raises(ValueError, match="Sample 'b' has no sex"):
        subgroups("sex", {"a": "F"}, ["a", "b"], [[1], [1]], [0.0])
    with pytest.raises(ValueError, match="has 21 different values, expected at most 20: make bands"):
        subgroups("age", {str(k): str(k) for k in range(21)}, [str(k) for k in range(21)], [[1]] * 21, [0.0])


def test_a_csv_file_may_have_a_byte_order_mark_and_no_other_encoding(tmp_path):
    file = tmp_path / "groups.csv"
    text = "sample_id,site\na,Köln\n"
    file.write_text(text, encoding="utf-8-sig")
    assert read_column(file, "site") == {"a": "Köln"}
    for encoding in ("latin-1", "utf-16"):
        file.write_text(text, encoding=encoding)
        with pytest.raises(ValueError, match=r"groups\.csv is not UTF-8 text"):
            read_column(file, "site")


def wilson(count: int, n: int) -> tuple[float, float]:
    """The interval that Wilson (1927) solves for: |p - k/n| <= z sqrt(p (1 - p) / n)."""
    z = stats.norm.ppf(0.975)
    ends = np.roots([n + z**2, -(2 * count + z**2), count**2 / n])
    return max(0.0, float(min(ends.real))), min(1.0, float(max(ends.real)))


@pytest.mark.parametrize(("count", "n"), [(0, 24), (24, 24), (1, 12), (7, 10), (450, 1000)])
def test_proportions_get_wilsons_interval(count, n):
    ((low, high),) = score_intervals([[1.0]] * count + [[0.0]] * (n - count))
    assert (low, high) == pytest.approx(wilson(count, n), abs=1e-9)
    assert (low, high) != (0.0, 0.0)
    if count == 0:
        assert (low, round(high, 3)) == (0.0, 0.138)


def test_below_ten_patients_there_is_no_interval():
    values = [[0.87], [0.89]] * 20
    assert all(math.isnan(end) for end in score_intervals(values, ["a", "b"] * 20)[0])
    nine = [str(k) for k in range(9)]
    assert all(math.isnan(end) for end in score_intervals([[0.5]] * 9, nine)[0])
    assert score_intervals([[0.5]] * 10)[0] == (0.5, 0.5)
    (first, second) = score_intervals([[1.0, 1.0], *([[None, 1.0]] * 11)])
    assert math.isnan(first[0])
    assert second == pytest.approx(wilson(12, 12), abs=1e-9)


def test_several_samples_of_a_patient_count_as_one_where_all_are_alike():
    patients = [str(k // 5) for k in range(60)]
    ((low, high),) = score_intervals([[0.0]] * 60, patients)
    assert (low, high) == pytest.approx(wilson(0, 12), abs=1e-9)
    mixed = [[float(k % 2)] for k in range(60)]
    assert score_intervals(mixed, patients) == bootstrap_intervals(mixed, patients)
    scores = [[0.5 + k / 100] for k in range(12)]
    assert score_intervals(scores) == bootstrap_intervals(scores)
