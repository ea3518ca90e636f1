"""The section on differences between models that were measured on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monai_ima.results.paired import RESAMPLES, PairedDifference
from monai_ima.results.schema import Results
from monai_ima.results.statistics import FEWEST
from monai_ima.utils.plain_numbers import counted

from .blocks import Block, Note, Table, Text
from .pairs import Pairs
from .wording import (
    capitalised,
    common_size,
    level_table,
    metric_name,
    names_in_words,
    p_value,
    score,
    signed,
    with_intervals,
)

__all__ = ["differences", "differences_summary"]


def differences(models: Sequence[Results], pairs: Pairs) -> Iterator[Block]:
    """Every other model's score minus the first one's; a sentence for each that cannot be compared with it.

    Args:
        models: at least two, with different labels.
        pairs: of these.
    """
    first, *others = models
    for one in others:
        if one.label in pairs.refused:
            said = names_in_words(pairs.refused[one.label], one.metric)
            yield Note("caution", f"{one.label} and {first.label} have no paired difference", said)
    for one in others:
        if one.label in pairs.differences:
            yield _table(first, one, pairs.differences[one.label])
    if pairs.differences:
        yield from _explained(list(pairs.differences.values()))


def differences_summary(models: Sequence[Results], pairs: Pairs) -> list[dict[str, Any]]:
    """The same numbers for machines: for each model but the first its differences, or why there are none."""
    first = models[0].label
    found = [
        {"first": first, "second": label, "differences": [entry.model_dump(mode="json") for entry in entries]}
        for label, entries in pairs.differences.items()
    ]
    return [*found, *({"first": first, "second": label, "refused": why} for label, why in pairs.refused.items())]


def _table(first: Results, other: Results, found: Sequence[PairedDifference]) -> Table:
    size = common_size([first, other])
    columns = [
        (first.label, [score(one.first) for one in found]),
        (other.label, [score(one.second) for one in found]),
        ("difference", [signed(one.difference) + _interval(one) for one in found]),
        ("p", [p_value(one.p_value) for one in found]),
        ("p by Holm", [p_value(one.p_adjusted) for one in found]),
    ]
    known = with_intervals(one.low for one in found)
    caption = f"{capitalised(metric_name(first))} of {other.label} minus that of {first.label}{known}"
    return level_table(caption, [one.level for one in found], size, columns)


def _explained(found: Sequence[Sequence[PairedDifference]]) -> Iterator[Block]:
    """On what the differences were measured, how intervals and p-values come about, and what they leave open."""
    entries = [one for differences in found for one in differences]
    one = entries[0]
    whom = counted(one.samples, "sample")
    drawn = "samples"
    if one.groups < one.samples:
        whom += f" of {counted(one.groups, 'patient')}"
        drawn = "whole patients"
    parts = [f"Above 0 the second model is better. Both were measured on the same {whom}."]
    if one.groups < FEWEST:
        parts.append(f"There are no intervals: {FEWEST} patients (or samples) are the fewest.")
    else:
        parts.append(
            f"Intervals are percentiles of {RESAMPLES:,} bootstrap draws of {drawn}, each with both models' scores."
        )
    if one.p_value is not None:
        test = "exact McNemar" if one.test == "exact McNemar" else "the same draws"
        parts.append(f"p is two-sided, by {test}.")
    yield Text(" ".join(parts))
    if len(entries) > 1 and one.p_value is not None:
        yield Text(
            f"p by Holm is adjusted for all {len(entries)} comparisons of this section: if every difference with a p "
            "by Holm below 0.05 is called real, the chance that any of them is not stays below 5 %."
        )
    more = " by more than the intervals say" if one.groups >= FEWEST else ""
    yield Text(f"Two trained networks are compared, not two ways of training: another training run may differ{more}.")


def _interval(one: PairedDifference) -> str:
    return "" if one.low is None or one.high is None else f" [{signed(one.low)}, {signed(one.high)}]"
