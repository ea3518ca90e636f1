"""The three sentences that a report begins with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from monai_ima.results.paired import PairedDifference
from monai_ima.results.perturbed import PerturbationResult
from monai_ima.results.provenance import has_other_weights
from monai_ima.results.schema import ClassificationResults, Results
from monai_ima.utils.checks import without_middle
from monai_ima.utils.plain_numbers import counted, plain_number

from .blocks import Verdict
from .pairs import Pairs
from .wording import counted_samples, epsilon_described, metric_name, score

__all__ = ["middle", "trust", "verdict"]

NO_PAIRS = "The models were not measured on the same samples under the same attacks, so no difference can be given"
NO_DIFFERENCE = "no difference"
LONGEST_LABEL = 40
"""Letters of a label; of a longer one the middle is left out: the end tells models of one name apart."""
PERTURBATIONS = 3
"""As many are named in the verdict."""


def verdict(models: Sequence[Results], pairs: Pairs) -> Verdict:
    """Of one model how robust it is, how good without an attack, and whether the figures can be trusted; of several
    what the last gained over the first, what that cost, and the same.

    Args:
        models: at least one, with different labels.
        pairs: of these.
    """
    found = {one.level: one for one in pairs.differences.get(models[-1].label, [])}
    models = [one.named(without_middle(one.label, LONGEST_LABEL, LONGEST_LABEL // 2)) for one in models]
    tone, trusted = trust(models)
    if len(models) == 1:
        sentences = [("Robustness", _robustness(models[0])), ("Without an attack", _clean(models[0]))]
    else:
        first, last = models[0], models[-1]
        better = 0.0 in found and found[0.0].difference >= 0
        without = "Without an attack" if better else "Cost without an attack"
        sentences = [("Gain", _gain(first, last, found)), (without, _cost(first, last, found))]
    sentences.append(("Can it be trusted?", trusted))
    return Verdict([(what, re.sub(r"(?<=\d) %", "\u00a0%", sentence)) for what, sentence in sentences], tone)


def middle(levels: Sequence[float]) -> int | None:
    """Which level is in the middle of those above 0, the lower one of two; None where there is none.

    Example:
        >>> middle([0.0, 0.5, 1.0, 2.0]), middle([0.0])
        (2, None)
    """
    above = [k for k, value in enumerate(levels) if value > 0]
    return above[(len(above) - 1) // 2] if above else None


def _robustness(results: Results) -> str:
    k = middle(results.levels)
    if k is None:
        return _sentence("No noise above ε = 0 was measured", _one_perturbed(results))
    where = f"Under the strongest attack at {epsilon_described(results.levels[k], results.pixel_size)}"
    half = ""
    if isinstance(results, ClassificationResults) and results.minimum is not None:
        minimum = results.minimum
        if minimum.median is not None:
            half = f"half of its correct predictions break at ε = {plain_number(minimum.median, 3)} or less"
        else:
            half = f"fewer than half of its correct predictions break up to ε = {plain_number(minimum.up_to, 3)}"
    return _sentence(f"{where}, {results.label} {_scored(results, k)}", half, _one_perturbed(results))


def _clean(results: Results) -> str:
    if results.levels[0] != 0:
        return "Its score without an attack was not measured."
    return f"{results.label} {_scored(results, 0)}, measured on {counted_samples(results)}."


def _scored(results: Results, k: int) -> str:
    value, ends = results.strongest.values[k], results.strongest.intervals[k]
    if ends is None:
        return _holds(results, value)
    low, high = (_value(results, end) for end in ends)
    return f"{_holds(results, value)} (95 % interval {low} to {high})"


def _holds(results: Results, value: float) -> str:
    if results.metric == "accuracy":
        exactly = "in every label " * (metric_name(results) != "accuracy")
        return f"is right {exactly}on {_value(results, value)} % of the samples"
    return f"has a {metric_name(results)} of {_value(results, value)}"


def _value(results: Results, value: float) -> str:
    """Accuracy in per cent, without the sign; Dice as it is."""
    return f"{100 * value:.1f}".removesuffix(".0") if results.metric == "accuracy" else score(value)


def _gain(first: Results, last: Results, found: dict[float, PairedDifference]) -> str:
    perturbed = _perturbed(first, last)
    levels = list(found) or [level for level in last.levels if level in first.levels]
    k = middle(levels)
    if k is None:
        return _sentence("The models have no ε above 0 of the same size in common", perturbed)
    where = f"nder the strongest attack at {epsilon_described(levels[k], last.pixel_size)}"
    if found:
        return _sentence(f"U{where}, {_compared(first, last, found[levels[k]])}", perturbed)
    scores = [f"{one.label} {_scored(one, one.levels.index(levels[k]))}" for one in (last, first)]
    return _sentence(f"{NO_PAIRS}; u{where}, {' and '.join(scores)}", perturbed)


def _cost(first: Results, last: Results, found: dict[float, PairedDifference]) -> str:
    if 0.0 in found:
        clean = found[0.0]
        whose = f" of {counted(clean.groups, 'patient')}" if clean.groups < clean.samples else ""
        return f"{_compared(first, last, clean)}, paired over {counted(clean.samples, 'sample')}{whose}."
    if not first.levels[0] == last.levels[0] == 0:
        return "One of the models was not measured without an attack, so there is no difference."
    scores = [f"{one.label} {_scored(one, 0)}" for one in (last, first)]
    return f"{NO_PAIRS}: {' and '.join(scores)}."


def _compared(first: Results, last: Results, found: PairedDifference) -> str:
    scores = f"{last.label} {_holds(last, found.second)}, {first.label} "
    scores += f"on {_value(first, found.first)} %" if first.metric == "accuracy" else f"of {score(found.first)}"
    return f"{scores}: {_changed(last, found)}"


def _changed(results: Results, found: PairedDifference) -> str:
    """``32 points more (95 % interval +20.0 to +44.0)``."""
    points = results.metric == "accuracy"
    text = _difference(results.metric, found.difference)
    if found.low is None or found.high is None:
        return f"{text} (too few to give an interval)"
    if found.low <= 0 <= found.high and text != NO_DIFFERENCE:
        text += ", which chance can explain"
    low, high = (_signed(100 * end, 1) if points else _signed(end, 3) for end in (found.low, found.high))
    return f"{text} (95 % interval {low} to {high})".replace("-", "−")


def _difference(metric: str, value: float) -> str:
    """``32 points more``, ``0.032 lower``."""
    points = metric == "accuracy"
    size = f"{100 * abs(value):.1f}".removesuffix(".0") if points else score(abs(value))
    if float(size) == 0:
        return NO_DIFFERENCE
    unit = f" point{'s' * (size != '1')}" if points else ""
    more, fewer = ("more", "fewer") if points else ("higher", "lower")
    return f"{size}{unit} {more if value > 0 else fewer}"


def _signed(value: float, digits: int) -> str:
    """A number with its sign; one more digit where it would look like 0."""
    text = f"{value:+.{digits}f}"
    return f"{value:+.{digits + 1}f}" if value and float(text) == 0 else text


def _perturbed(first: Results, last: Results) -> str:
    """How much the last differs from the first in the worst cases of perturbations with parameters."""
    before = {(one.name, one.unit): one for one in first.perturbations}
    parts = []
    for one in last.perturbations:
        other = before.get((one.name, one.unit))
        shared = [] if other is None else [level for level in one.levels if level in other.levels]
        k = middle(shared)
        if other is not None and k is not None:
            after, scored = (each.worst.values[each.levels.index(shared[k])] for each in (one, other))
            if after is not None and scored is not None:
                changed = _difference(last.metric, after - scored)
                parts.append(f"{changed} ({_sized(one, shared[k])})")
    return _worst_cases(parts)


def _one_perturbed(results: Results) -> str:
    parts = []
    for one in results.perturbations:
        k = middle(one.levels)
        found = None if k is None else _worst(results, one, one.levels[k])
        if k is not None and found is not None:
            parts.append(f"{found} ({_sized(one, one.levels[k])})")
    return _worst_cases(parts)


def _sized(one: PerturbationResult, level: float) -> str:
    return f"{one.title}, {plain_number(level)} {one.unit}"


def _worst(results: Results, one: PerturbationResult, level: float) -> str | None:
    value = one.worst.values[one.levels.index(level)]
    if value is None:
        return None
    return _value(results, value) + " %" * (results.metric == "accuracy")


def _worst_cases(parts: Sequence[str]) -> str:
    more = f", and {len(parts) - PERTURBATIONS} more below" if len(parts) > PERTURBATIONS else ""
    return (
        f"in the worst case of changes as scanners make them {', '.join(parts[:PERTURBATIONS])}{more}" if parts else ""
    )


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part) + "."


def trust(models: Sequence[Results]) -> tuple[str, str]:
    """Tone and sentence on whether the scores under attack can be trusted."""
    failed = list(_failures(models))
    if failed:
        return "failed", f"No: {'; '.join(failed)}."
    last = models[-1]
    if not last.checks:
        return "caution", (
            f"Not known: no checks for gradient masking were run for {last.label}, and a network can look robust only "
            "because the attack fails."
        )
    passed = sum(check.status == "passed" for check in last.checks)
    skipped = sum(check.status == "not run" for check in last.checks)
    if not passed:
        return "caution", f"Not known: none of the checks for gradient masking could be run for {last.label}."
    parts = [f"Nothing speaks against it: {last.label} passes {_all(passed)} for gradient masking"]
    if skipped:
        parts[0] += f" ({skipped} could not be run)"
    if last.crosscheck is not None:
        parts.append("independent code finds no lower score")
    unchecked = [one.label for one in models[:-1] if not one.checks]
    if unchecked:
        parts.append(f"{', '.join(unchecked)} {'was' if len(unchecked) == 1 else 'were'} not checked")
    return "passed", _sentence(*parts)


def _all(passed: int) -> str:
    return "the one check" if passed == 1 else f"all {passed} checks"


def _failures(models: Sequence[Results]) -> Iterator[str]:
    for one in models:
        if one.failed:
            run = sum(check.status != "not run" for check in one.checks or ())
            titles = "; ".join(f"“{check.title}”" for check in one.failed)
            yield (
                f"{one.label} fails {len(one.failed)} of {counted(run, 'check')} for gradient masking ({titles}), so "
                "its score under attack may be too high; do not quote it before the cause is known"
            )
        if has_other_weights(one.model.checkpoint, one.model.sha256):
            yield (
                f"the file {one.model.checkpoint} of {one.label} holds other weights now than those that were "
                "measured; these figures are not theirs"
            )
        if one.crosscheck is not None and any(not row.agrees and row.ours > row.theirs for row in one.crosscheck.rows):
            yield f"independent code finds a lower score of {one.label} than the attacks used here"
