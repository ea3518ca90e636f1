"""How sure a mean over samples is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from monai_ima.utils.checks import check_count, check_fraction

__all__ = ["FEWEST", "bootstrap_intervals", "bootstrap_means", "score_intervals"]

CHUNK = 200
FEWEST = 10
"""Patients below which no interval is given: too few to say how much they differ."""


def score_intervals(
    values: Sequence[Sequence[float | None]],
    patients: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Intervals of the mean of scores in 0..1, one for every column.

    ================================================ ===============================================================
    the column's values                              interval
    ================================================ ===============================================================
    of fewer than ten patients                       none: NaN
    correct or not (0 and 1), one sample a patient   Wilson's score interval of a proportion
    all 0, or all 1                                  Wilson's, of as many as there are patients: a bootstrap's would
                                                     have no width
    otherwise                                        :func:`bootstrap_intervals`, whole patients being drawn
    ================================================ ===============================================================

    Args:
        values: ``[N, L]``, for each sample its score at every ε; None or NaN where it has none.
        patients: of the samples, ``[N]``; None means that every sample is a patient of its own.
        confidence: in (0, 1).
        seed: of the bootstrap's draws.

    Returns:
        Lower and upper end for each of the L columns.

    Raises:
        ValueError: as :func:`bootstrap_intervals`.

    Example:
        >>> ((low, high),) = score_intervals([[0.0]] * 24)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.138)
    """
    check_fraction("confidence", confidence, "()")
    table = _checked(values, patients)
    intervals = [(np.nan, np.nan)] * table.shape[1]
    bootstrapped = []
    for k, column in enumerate(table.T):
        known = np.flatnonzero(~np.isnan(column))
        scores = column[known]
        count = len(known) if patients is None else len({patients[int(n)] for n in known})
        if count < FEWEST:
            continue
        mean = float(scores.mean())
        if mean in (0.0, 1.0) or (count == len(known) and np.isin(scores, (0.0, 1.0)).all()):
            interval = binomtest(round(mean * count), count).proportion_ci(confidence, method="wilson")
            intervals[k] = (float(interval.low), float(interval.high))
        else:
            bootstrapped.append(k)
    if bootstrapped:
        found = bootstrap_intervals(table[:, bootstrapped].tolist(), patients, confidence=confidence, seed=seed)
        for k, ends in zip(bootstrapped, found, strict=True):
            intervals[k] = ends
    return intervals


def bootstrap_intervals(
    values: Sequence[Sequence[float | None]],
    patients: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of the mean of every column.

    Whole patients are drawn with replacement, each with all of its samples (samples of one patient are not
    independent); without patients, samples. The mean is over the samples drawn.

    Args:
        values: ``[N, L]``, for each sample its value at every ε; None or NaN where it has none.
        patients: of the samples, ``[N]``; None means that every sample is a patient of its own.
        resamples: number of draws, >= 1.
        confidence: share of the draws inside the interval, in (0, 1).
        seed: of the draws.

    Returns:
        Lower and upper end for each of the L columns; NaN for a column without values.

    Raises:
        ValueError: as :func:`bootstrap_means`, or if ``confidence`` is not in (0, 1).
    """
    tail = (1 - check_fraction("confidence", confidence, "()")) / 2
    means = bootstrap_means(values, patients, resamples, seed)
    ends = [_quantiles(column[~np.isnan(column)], tail) for column in means.T]
    return [(float(lo), float(hi)) for lo, hi in ends]


def bootstrap_means(
    values: Sequence[Sequence[float | None]],
    patients: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """The mean of every column in each draw of the bootstrap; arguments as of :func:`bootstrap_intervals`.

    Returns:
        ``[resamples, L]``; NaN where no sample that was drawn has a value.

    Raises:
        ValueError: if ``resamples`` < 1, ``values`` are not ``[N, L]`` with N, L >= 1, or there is not one of
            ``patients`` for each sample.

    Example:
        >>> bootstrap_means([[0.5, 1.0]] * 3, resamples=2).tolist()
        [[0.5, 1.0], [0.5, 1.0]]
    """
    resamples = check_count("resamples", resamples, 1)
    table = _checked(values, patients)
    names = np.arange(len(table)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    known = ~np.isnan(table)
    sums, counts = np.zeros((names.max() + 1, table.shape[1])), np.zeros((names.max() + 1, table.shape[1]))
    np.add.at(sums, names, np.where(known, table, 0))
    np.add.at(counts, names, known)
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [_means(sums, counts, rng, min(CHUNK, resamples - done)) for done in range(0, resamples, CHUNK)]
    )


def _checked(values: Sequence[Sequence[float | None]], patients: Sequence[str] | None) -> np.ndarray:
    """The values as a table ``[N, L]``, NaN where there is none.

    Raises:
        ValueError: as :func:`bootstrap_means`.
    """
    table = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"Got values of shape {table.shape}, expected [samples, levels] with at least one of each.")
    if patients is not None and len(patients) != len(table):
        raise ValueError(f"Got {len(patients)} patients for {len(table)} samples, expected one for each.")
    return table


def _means(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    chosen = rng.integers(0, len(sums), (draws, len(sums)))
    total = counts[chosen].sum(axis=1)
    return np.divide(sums[chosen].sum(axis=1), total, out=np.full(total.shape, np.nan), where=total > 0)


def _quantiles(means: np.ndarray, tail: float) -> tuple[float, float]:
    if not len(means):
        return np.nan, np.nan
    lo, hi = np.quantile(means, [tail, 1 - tail])
    return lo, hi
