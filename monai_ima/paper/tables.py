"""The tables of a paper, from the results of one model or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monai_ima.report.wording import (
    INTERVALS,
    MINIMUM,
    NORMS,
    NOTHING,
    attack_words,
    attacked,
    capitalised,
    common_size,
    level,
    level_cells,
    level_header,
    metric_name,
    p_value,
    score,
    score_at,
    score_cell,
    signed,
    with_intervals,
)
from monai_ima.results.paired import PairedDifference
from monai_ima.results.parts import AttackCurve
from monai_ima.results.schema import Results
from monai_ima.results.statistics import FEWEST

from .latex import WIDE, Grid, PaperTable, parts
from .perturbation_tables import perturbation_tables
from .prose import joined, samples

__all__ = ["paper_tables"]


def paper_tables(models: Sequence[Results], differences: Sequence[Sequence[PairedDifference]]) -> Iterator[PaperTable]:
    """Robustness, paired differences, smallest perturbations and changes with parameters, where measured.

    Args:
        models: of one norm and metric, with a label each.
        differences: of every model but the first from the first; empty where they cannot be compared.
    """
    yield _robustness(models) if any(map(attacked, models)) else _unattacked(models)
    yield from (_attacks(one, k) for k, one in enumerate(models, 1) if attacked(one) and _named_attacks(one) > 1)
    if differences:
        yield _differences(models, differences)
    if any(one.minimum is not None for one in models):
        yield _minimum(models)
    yield from perturbation_tables(models)


def _robustness(models: Sequence[Results]) -> PaperTable:
    first = models[0]
    size = common_size(models)
    levels = sorted({value for one in models for value in one.levels})
    grids = []
    names, on = _on(models)
    for heads, part in zip(parts(names, WIDE), parts(models, WIDE), strict=True):
        header = [*level_header(size), *heads]
        rows = [
            [
                *level_cells(value, size),
                *(score_at(one, one.levels.index(value)) if value in one.levels else NOTHING for one in part),
            ]
            for value in levels
        ]
        grids.append(Grid(header, [("", rows)]))
    return PaperTable(
        "tab:robustness",
        f"{capitalised(metric_name(first))} under the strongest attack at each perturbation budget ε in the "
        f"{NORMS[first.norm]} norm{on}{_brackets([one.strongest for one in models])}.",
        grids,
    )


def _unattacked(models: Sequence[Results]) -> PaperTable:
    """The scores of models that were measured at ε = 0 alone."""
    names, on = _on(models)
    metric = metric_name(models[0])
    rows = [[name, score_at(one, 0)] for name, one in zip(names, models, strict=True)]
    brackets = _brackets([one.strongest for one in models])
    caption = f"{capitalised(metric)} without any attack{on}{brackets}."
    return PaperTable("tab:robustness", caption, [Grid(["model", metric], [("", rows)])])


def _on(models: Sequence[Results]) -> tuple[list[str], str]:
    """The models' names, and what they were measured on, as a caption goes on: with the names where it differs."""
    if len({(one.data.name, samples(one.data)) for one in models}) == 1:
        return [one.label for one in models], f" on {samples(models[0].data)}"
    return [f"{one.label} (n = {one.data.samples})" for one in models], ""


def _brackets(curves: Sequence[AttackCurve]) -> str:
    known = with_intervals(ends for curve in curves for ends in curve.intervals)
    return known and f"{known} in brackets"


def _named_attacks(model: Results) -> int:
    return sum(attack.name != MINIMUM for attack in model.attacks)


def _attacks(model: Results, number: int) -> PaperTable:
    """What each attack left, one after the other."""
    size = model.pixel_size
    grids = []
    for part in parts(model.attacks, WIDE):
        header = [*level_header(size), *(attack_words(attack.name, model.metric) for attack in part)]
        rows = [
            [*level_cells(value, size), *(score_cell(attack.values[k], attack.intervals[k]) for attack in part)]
            for k, value in enumerate(model.levels)
        ]
        grids.append(Grid(header, [("", rows)]))
    return PaperTable(
        f"tab:attacks-{number}",
        f"{capitalised(metric_name(model))} of {model.label} by attack. Each column is under its attack and all those "
        f"before it{_brackets(model.attacks)}.",
        grids,
    )


def _differences(models: Sequence[Results], differences: Sequence[Sequence[PairedDifference]]) -> PaperTable:
    entries = [one for found in differences for one in found]
    tested = any(one.p_value is not None for one in entries)
    header = ["ε", models[0].label, "other model", "difference", *(["p", "p, Holm"] if tested else [])]
    groups = [
        (f"{other.label} against {models[0].label}", [_difference(one)[: len(header)] for one in found])
        for other, found in zip(models[1:], differences, strict=True)
    ]
    metric = metric_name(models[0])
    whom = "samples" if all(one.data.patients is None for one in models) else "patients"
    return PaperTable(
        "tab:differences",
        f"Differences of {metric} from {models[0].label} on the same samples{_certainty(entries, whom)}",
        [Grid(header, groups)],
    )


TESTS = {"exact McNemar": "the exact McNemar test", "paired bootstrap": "a paired bootstrap"}


def _certainty(entries: Sequence[PairedDifference], whom: str) -> str:
    """Intervals and p-values, as a caption goes on; those that are not there for lack of patients or samples."""
    bracketed = [one for one in entries if one.low is not None]
    tested = [one for one in entries if one.p_value is not None]
    missing = [what for what, there in (("intervals", bracketed), ("p-values", tested)) if not there]
    text = f", with {INTERVALS} in brackets" if bracketed else ""
    text += f" where there are enough {whom} for one." if 0 < len(bracketed) < len(entries) else "."
    if tested:
        tests = joined(list(dict.fromkeys(TESTS[one.test] for one in tested)))
        rows = "all rows" if len(tested) == len(entries) else "all rows that have one"
        text += f" The p-values are from {tests}; the last column is adjusted by Holm’s method over {rows}."
    if missing:
        text += f" Fewer than {FEWEST} {whom} are too few for {joined(missing)}."
    return text


def _difference(one: PairedDifference) -> list[str]:
    ends = "" if one.low is None or one.high is None else f" [{_signed(one.low)}, {_signed(one.high)}]"
    numbers = [level(one.level), score(one.first), score(one.second), _signed(one.difference) + ends]
    return [*numbers, p_value(one.p_value), p_value(one.p_adjusted)]


def _signed(value: float) -> str:
    return signed(value).replace("+0.000", "0.000").replace("−0.000", "0.000")


def _minimum(models: Sequence[Results]) -> PaperTable:
    rows = [
        [
            one.label,
            str(one.minimum.of),
            str(one.minimum.found),
            level(one.minimum.up_to),
            f"> {level(one.minimum.up_to)}" if one.minimum.median is None else level(one.minimum.median),
        ]
        for one in models
        if one.minimum is not None
    ]
    return PaperTable(
        "tab:minimum",
        "Smallest perturbations that change a correct prediction: how many samples are correct, for how many of them a "
        f"perturbation was found, up to which ε it was searched for, and the median over all correct samples of the "
        f"{NORMS[models[0].norm]} size (each an upper bound of the distance to the decision boundary).",
        [Grid(["model", "correct", "found", "up to ε", "median ε"], [("", rows)])],
    )
