"""The section on differences between models that were measured on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from monai_ima.results.paired import RESAMPLES, PairedDifference, check_pairs, differences_from_first
from monai_ima.results.pixel_size import PixelSize
from monai_ima.results.schema import Results
from monai_ima.results.statistics import FEWEST
from monai_ima.utils.plain_numbers import counted

from .blocks import Block, Note, Table, Text
from .wording import INTERVALS, NOTHING, attack_list, capitalised, level_table, metric_name, score

__all__ = ["differences", "differences_summary"]


def differences(models: Sequence[Results]) -> Iterator[Block]:
    """Every other model's score minus the first one's; a sentence for each that cannot be compared with it.

    Args:
        models: at least two, with different labels.
    """
    first = models[0]
    compared, refused = _compared(models)
    for one, reason in refused:
        yield Note("caution", f"{one.label} and {first.label} have no paired difference", _in_words(reason, first, one))
    for one, found in compared:
        yield _table(first, one, found)
    if compared:
        yield from _explained([found for _, found in compared])


def differences_summary(models: Sequence[Results]) -> list[dict[str, Any]]:
    """The same numbers for machines: for each model but the first its differences, or why there are none."""
    compared, refused = _compared(models)
    first = models[0].label
    found = [
        {"first": first, "second": one.label, "differences": [entry.model_dump(mode="json") for entry in entries]}
        for one, entries in compared
    ]
    return [*found, *({"first": first, "second": one.label, "refused": reason} for one, reason in refused)]


def _compared(
    models: Sequence[Results],
) -> tuple[list[tuple[Results, list[PairedDifference]]], list[tuple[Results, str]]]:
    """The models that can be compared with the first, with their differences; the others, with the reason."""
    first, *others = models
    pairs, refused = [], []
    for other in others:
        try:
            check_pairs(first, other)
        except ValueError as error:
            refused.append((other, str(error)))
        else:
            pairs.append(other)
    found = differences_from_first([first, *pairs]) if pairs else []
    return list(zip(pairs, found, strict=True)), refused


def _in_words(reason: str, *models: Results) -> str:
    """A reason without short names of attacks, which stand in the appendix only."""
    joined = {"+".join(attack.name for attack in one.attacks): one for one in models}
    for names in sorted(joined, key=len, reverse=True):
        reason = reason.replace(f" {names}", f" {attack_list(names.split('+'), joined[names].metric)}")
    return reason


def _table(first: Results, other: Results, found: Sequence[PairedDifference]) -> Table:
    size = first.pixel_size if first.pixel_size == other.pixel_size else PixelSize(first.norm)
    columns = [
        (first.label, [score(one.first) for one in found]),
        (other.label, [score(one.second) for one in found]),
        ("difference", [_signed(one.difference) + _interval(one) for one in found]),
        ("p", [_p(one.p_value) for one in found]),
        ("p by Holm", [_p(one.p_adjusted) for one in found]),
    ]
    caption = f"{capitalised(metric_name(first))} of {other.label} minus that of {first.label}, with {INTERVALS}"
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
    yield Text(
        "Two trained networks are compared, not two ways of training: another training run may differ by more than the "
        "intervals say."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(one: PairedDifference) -> str:
    return "" if one.low is None or one.high is None else f" [{_signed(one.low)}, {_signed(one.high)}]"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
