"""Models beside each other that were measured on the same samples: differences, intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from scipy.stats import binomtest

from monai_ima.utils.checks import check_instance

from .base import Count, Fraction, NonNegative, Number, Part
from .schema import Results
from .statistics import FEWEST, bootstrap_means, score_intervals
from .tidy import tidy_rows

__all__ = ["RESAMPLES", "PairedDifference", "check_pairs", "differences_from_first", "holm", "paired_differences"]

RESAMPLES = 10_000
"""Draws of the bootstrap."""
SEED = 0
ROUNDING = 1e-12
"""Differences of means below this are rounding errors."""


class PairedDifference(Part):
    """How much two models' mean scores differ at one ε, on the same samples.

    Attributes:
        level: the ε.
        first, second: mean scores of the two models under attack, in [0, 1].
        difference: second - first, in [-1, 1]: above 0 where the second is better.
        low, high: ends of its 95 % interval; None below ten patients (or samples, where patients are not known).
        p_value: of no difference, two-sided; None where ``test`` is a bootstrap over fewer than ten patients.
        p_adjusted: the same by Holm, over all ε of all models that were compared; None with ``p_value``.
        test: exact McNemar where scores are 0 or 1 and no patient has two samples, else paired bootstrap.
        samples: how many both models were measured on.
        groups: how many patients these are of; as many as samples where patients are not known.

    Example:
        >>> found = PairedDifference(
        ...     level=0.0, first=0.8, second=0.75, difference=-0.05, low=-0.1, high=0.01, p_value=0.2, p_adjusted=0.4,
        ...     test="exact McNemar", samples=40, groups=40,
        ... )
        >>> found.difference
        -0.05
    """

    level: NonNegative
    first: Fraction
    second: Fraction
    difference: Annotated[float, Field(ge=-1, le=1)]
    low: Number
    high: Number
    p_value: Fraction | None
    p_adjusted: Fraction | None
    test: Literal["exact McNemar", "paired bootstrap"]
    samples: Count
    groups: Count


def paired_differences(first: Results, second: Results, attack: str | None = None) -> list[PairedDifference]:
    """The differences of two models' mean scores at every ε that both were measured at.

    Intervals are percentiles of 10 000 paired bootstrap draws: a sample is drawn with its scores of both models, and
    where patients are known, a patient with all samples. Where no sample is right under one model alone, or all are,
    a bootstrap has no width: then the interval of accuracies is Wilson's, of the share of patients whose scores differ
    (Dice that differ nowhere differ by 0 to 0). The bootstrap's p-value is twice the smaller share of the draws on
    either side of 0. All draws have the same seed.

    Args:
        first: the model that the other is compared with.
        second: the other.
        attack: name of one of the attacks that both were measured under; scores are under it and all before it. None
            means the strongest, the last.

    Returns:
        One entry for each ε, rising; only ε = 0 where the networks' units are of different size.

    Raises:
        TypeError: if one is something else than results.
        ValueError: if samples, their labels or patients, norm, metric or attacks differ, or no ε is in both.

    Example:
        >>> from monai_ima.results.schema import Results
        >>> paired_differences(Results.read("plain"), Results.read("hardened"))
        Traceback (most recent call last):
        FileNotFoundError: File plain does not exist, expected results of 'python -m monai_ima evaluate'.
    """
    return differences_from_first([first, second], attack)[0]


def differences_from_first(models: Sequence[Results], attack: str | None = None) -> list[list[PairedDifference]]:
    """The differences of every other model from the first, as :func:`paired_differences`.

    Args:
        models: at least two results.
        attack: as there.

    Returns:
        A list for each model but the first, with an entry for each ε. Holm's adjustment is over all entries of all
        lists.

    Raises:
        TypeError: if one is something else than results.
        ValueError: if there are fewer than two, or as :func:`paired_differences`.

    Example:
        >>> differences_from_first([])
        Traceback (most recent call last):
        ValueError: Got 0 results to compare, expected at least two.
    """
    if len(models) < 2:
        raise ValueError(f"Got {len(models)} results to compare, expected at least two.")
    for one in models:
        check_instance("results", one, Results, "what Results.read returns")
    found = [_unadjusted(models[0], other, attack) for other in models[1:]]
    adjusted = iter(holm([one.p_value for differences in found for one in differences]))
    return [[one.model_copy(update={"p_adjusted": next(adjusted)}) for one in differences] for differences in found]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted by Holm (1979): below α, the chance of one false finding among all is below α.

    Args:
        p_values: in [0, 1]; None where there is none, which does not count.

    Returns:
        Of each the adjusted one, at most 1.

    Example:
        >>> holm([0.01, 0.5, None, 0.02])
        [0.03, 0.5, None, 0.04]
    """
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, k) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[k] = largest
    return adjusted


def check_pairs(first: Results, second: Results, attack: str | None = None) -> None:
    """Refuse results whose scores are no pairs.

    Raises:
        ValueError: as :func:`paired_differences`.
    """
    for what in ("norm", "metric"):
        one, two = getattr(first, what), getattr(second, what)
        if one != two:
            raise ValueError(f"{first.origin} has {what} {one} and {second.origin} {two}, expected the same.")
    _check_samples(first, second)
    _attack(first, second, attack)
    _levels(first, second)
    _patients(first, second)


def _unadjusted(first: Results, second: Results, attack: str | None) -> list[PairedDifference]:
    check_pairs(first, second, attack)
    name = _attack(first, second, attack)
    levels = _levels(first, second)
    tables = [_scores(one, name, levels) for one in (first, second)]
    differences = tables[1] - tables[0]
    patients = _patients(first, second)
    groups = len(differences) if patients is None else len(set(patients))
    binary = groups == len(differences) and first.metric == "accuracy"
    means = bootstrap_means(differences.tolist(), patients, RESAMPLES, SEED)
    entries = []
    for k, level in enumerate(levels):
        ends = _interval(differences[:, k], means[:, k], patients, first.metric == "accuracy" and groups >= FEWEST)
        enough = groups >= FEWEST
        p = _mcnemar(differences[:, k]) if binary else _bootstrap_p(means[:, k]) if enough else None
        one, two = (float(table[:, k].mean()) for table in tables)
        entries.append(
            PairedDifference(
                level=level,
                first=one,
                second=two,
                difference=float(differences[:, k].mean()),
                low=ends[0] if enough else None,
                high=ends[1] if enough else None,
                p_value=p,
                p_adjusted=p,
                test="exact McNemar" if binary else "paired bootstrap",
                samples=len(differences),
                groups=groups,
            )
        )
    return entries


def _check_samples(first: Results, second: Results) -> None:
    """Refuse results of other samples."""
    samples = [_by_id(one) for one in (first, second)]
    alone = sorted(samples[0].keys() ^ samples[1].keys())
    if alone:
        which = first if alone[0] in samples[0] else second
        count = f" ({len(alone)} in all are in one of the two results alone)" if len(alone) > 1 else ""
        raise ValueError(
            f"Sample {alone[0]!r} is in {which.origin} alone, expected the same samples in both results{count}."
        )
    for sample_id, one in samples[0].items():
        labels = [getattr(sample, "label", None) for sample in (one, samples[1][sample_id])]
        if labels[0] != labels[1]:
            raise ValueError(
                f"Sample {sample_id!r} has label {labels[0]} in {first.origin} and {labels[1]} in {second.origin}, "
                "expected the same."
            )
    digests = first.data.sha256, second.data.sha256
    if None not in digests and digests[0] != digests[1]:
        raise ValueError(
            f"{first.origin} and {second.origin} have the same sample ids and different data.sha256, expected "
            "images of the same sizes with the same labels, in the same order."
        )


def _by_id(results: Results) -> dict[str, Any]:
    """The samples' records; of ids that come twice nothing can be paired."""
    samples = results.samples  # type: ignore[attr-defined]
    records = {sample.sample_id: sample for sample in samples}
    if len(records) != len(samples):
        raise ValueError(f"{results.origin} has {len(samples)} samples with {len(records)} ids, expected each id once.")
    return records


def _attack(first: Results, second: Results, attack: str | None) -> str:
    """Whose scores are compared; both models must have been attacked with it and the same ones before it."""
    names = [[one.name for one in results.attacks] for results in (first, second)]
    if attack is not None:
        for results, known in zip((first, second), names, strict=True):
            if attack not in known:
                raise ValueError(f"{results.origin} has no attack {attack!r}, expected one of {', '.join(known)}.")
        names = [known[: known.index(attack) + 1] for known in names]
    if names[0] != names[1]:
        one, two = ("+".join(known) for known in names)
        raise ValueError(f"{first.origin} has the attacks {one} and {second.origin} {two}, expected the same.")
    return names[0][-1]


def _levels(first: Results, second: Results) -> list[float]:
    """The ε that mean the same in both."""
    shared = [level for level in first.levels if level in second.levels]
    if first.units != second.units:
        shared = [level for level in shared if level == 0]
    if not shared:
        raise ValueError(
            f"{first.origin} and {second.origin} have no level in common, expected at least one that both were "
            "measured at, in units of the same size."
        )
    return shared


def _scores(results: Results, attack: str, levels: Sequence[float]) -> np.ndarray:
    """``[N, L]``, the samples sorted by id."""
    known = {(row["sample_id"], row["epsilon"]): row["score"] for row in tidy_rows(results) if row["attack"] == attack}
    return np.array([[known[name, level] for level in levels] for name in sorted(_by_id(results))])


def _patients(first: Results, second: Results) -> list[str] | None:
    """Whom the samples are of, sorted by id; None where no results know it of all samples."""
    given = [[sample.patient for _, sample in sorted(_by_id(one).items())] for one in (first, second)]
    known = [patients for patients in given if None not in patients]
    if len(known) == 2 and known[0] != known[1]:
        sample_id, one, two = next(row for row in zip(sorted(_by_id(first)), *known, strict=True) if row[1] != row[2])
        raise ValueError(
            f"Sample {sample_id!r} is of patient {one} in {first.origin} and {two} in {second.origin}, "
            "expected the same."
        )
    return known[0] if known else None


def _interval(
    differences: np.ndarray, means: np.ndarray, patients: Sequence[str] | None, wilson: bool
) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean difference; ``wilson``: the scores are 0 and 1, of patients enough."""
    same = float(differences[0])
    if wilson and same in (-1.0, 0.0, 1.0) and (differences == same).all():
        ((low, high),) = score_intervals([[abs(same)]] * len(differences), patients)
        return {0.0: (-high, high), 1.0: (low, 1.0), -1.0: (-1.0, -low)}[same]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _mcnemar(differences: np.ndarray) -> float:
    """Exact: of the samples that one model alone has right, half are expected to be the second's."""
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _bootstrap_p(means: np.ndarray) -> float:
    sides = (means <= ROUNDING).sum(), (means >= -ROUNDING).sum()
    return min(1.0, 2 * float(min(sides) + 1) / (len(means) + 1))
