"""The tables of a paper, from the results of one model or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from monai_ima.report.wording import (
    INTERVALS,
    MINIMUM,
    NORMS,
    NOTHING,
    attack_words,
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
)
from monai_ima.results.paired import PairedDifference
from monai_ima.results.perturbed import CaseCurve, PerturbationResult
from monai_ima.results.schema import Results

from .latex import Grid, PaperTable
from .prose import samples

__all__ = ["CASES", "paper_tables"]

T = TypeVar("T")

WIDE = 3
"""Scores with intervals that fit side by side beside the ε."""
TALL, HEAD, RULE = 48, 4, 2
"""Rows of a table that fit on a page; those that a head takes, and those that the name of a group takes."""
CASES = {"worst": "worst case", "average": "average case", "torchio": "TorchIO"}


def paper_tables(models: Sequence[Results], differences: Sequence[Sequence[PairedDifference]]) -> Iterator[PaperTable]:
    """Robustness, paired differences, smallest perturbations and changes as scanners make them, where measured.

    Args:
        models: of one norm and metric, with a label each.
        differences: of every model but the first from the first; empty where they cannot be compared.
    """
    yield _robustness(models)
    yield from (_attacks(one, k) for k, one in enumerate(models, 1) if _named_attacks(one) > 1)
    if differences:
        yield _differences(models, differences)
    if any(one.minimum is not None for one in models):
        yield _minimum(models)
    yield from _perturbations(models)


def _robustness(models: Sequence[Results]) -> PaperTable:
    first = models[0]
    size = common_size(models)
    levels = sorted({value for one in models for value in one.levels})
    grids = []
    same = len({(one.data.name, samples(one.data)) for one in models}) == 1
    for part in _parts(models, WIDE):
        heads = [one.label if same else f"{one.label} (n = {one.data.samples})" for one in part]
        header = [*level_header(size), *heads]
        rows = [
            [
                *level_cells(value, size),
                *(score_at(one, one.levels.index(value)) if value in one.levels else NOTHING for one in part),
            ]
            for value in levels
        ]
        grids.append(Grid(header, [("", rows)]))
    on = f" on {samples(first.data)}" if same else ""
    return PaperTable(
        "tab:robustness",
        f"{capitalised(metric_name(first))} under the strongest attack at each perturbation budget ε in the "
        f"{NORMS[first.norm]} norm{on}{_brackets(models)}.",
        grids,
    )


def _brackets(models: Sequence[Results]) -> str:
    known = any(ends for one in models for attack in one.attacks for ends in attack.intervals)
    return f", with {INTERVALS} in brackets" if known else ""


def _named_attacks(model: Results) -> int:
    return sum(attack.name != MINIMUM for attack in model.attacks)


def _attacks(model: Results, number: int) -> PaperTable:
    """What each attack left, one after the other."""
    size = model.pixel_size
    grids = []
    for part in _parts(model.attacks, WIDE):
        header = [*level_header(size), *(attack_words(attack.name, model.metric) for attack in part)]
        rows = [
            [*level_cells(value, size), *(score_cell(attack.values[k], attack.intervals[k]) for attack in part)]
            for k, value in enumerate(model.levels)
        ]
        grids.append(Grid(header, [("", rows)]))
    return PaperTable(
        f"tab:attacks-{number}",
        f"{capitalised(metric_name(model))} of {model.label} by attack. Each column is under its attack and all those "
        f"before it{_brackets([model])}.",
        grids,
    )


def _differences(models: Sequence[Results], differences: Sequence[Sequence[PairedDifference]]) -> PaperTable:
    metric = metric_name(models[0])
    header = ["ε", models[0].label, "other model", "difference", "p", "p, Holm"]
    groups = [
        (f"{other.label} against {models[0].label}", [_difference(one) for one in found])
        for other, found in zip(models[1:], differences, strict=True)
    ]
    tests = dict.fromkeys(TESTS[one.test] for found in differences for one in found)
    return PaperTable(
        "tab:differences",
        f"Differences of {metric} from {models[0].label} on the same samples, with {INTERVALS} in brackets where there "
        f"are enough patients for one. The p-values are from {' and '.join(tests)}; the last column is adjusted by "
        "Holm’s method over all rows that have one.",
        [Grid(header, groups)],
    )


TESTS = {"exact McNemar": "the exact McNemar test", "paired bootstrap": "a paired bootstrap"}


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


def _perturbations(models: Sequence[Results]) -> Iterator[PaperTable]:
    if not any(one.perturbations for one in models):
        return
    names = list(dict.fromkeys((one.name, one.unit) for model in models for one in model.perturbations))
    measured = [model for model in models if model.perturbations]
    cases = [case for case in CASES if any(_curve(one, case) for model in models for one in model.perturbations)]
    columns = [(model, case) for model in measured for case in cases]
    parts = list(_parts(columns, len(cases) * (WIDE // len(cases))))
    pages = list(_pages(names, models, TALL // len(parts) - HEAD))
    for number, page in enumerate(pages, 1):
        part = f" (part {number} of {len(pages)})" if len(pages) > 1 else ""
        yield PaperTable(
            "tab:perturbations" + (f"-{number}" if len(pages) > 1 else ""),
            f"{capitalised(metric_name(models[0]))} under changes as scanners make them{part}, by size: the lowest "
            "that attacks in the parameters of the change, or random draws, found up to that size (worst case), and "
            f"the mean over random draws of exactly that size (average case), with {INTERVALS} in brackets where there "
            "are enough patients for them.",
            [_perturbed(page, columns, models) for columns in parts],
        )


Name = tuple[str, str]
"""Of a perturbation and of its unit."""


def _perturbed(names: Sequence[Name], columns: Sequence[tuple[Results, str]], models: Sequence[Results]) -> Grid:
    several = sum(bool(model.perturbations) for model in models) > 1
    header = ["size", *(f"{model.label}, {CASES[case]}" if several else CASES[case] for model, case in columns)]
    groups = []
    for name in names:
        sizes, title = _sizes(name, models)
        rows = [[level(size), *(_cell(model, name, case, size) for model, case in columns)] for size in sizes]
        groups.append((f"{capitalised(title)}, {name[1]}", rows))
    return Grid(header, groups)


def _sizes(name: Name, models: Sequence[Results]) -> tuple[list[float], str]:
    found = [one for model in models for one in model.perturbations if (one.name, one.unit) == name]
    return sorted({size for one in found for size in one.levels}), found[0].title


def _pages(names: Sequence[Name], models: Sequence[Results], rows: int) -> Iterator[list[Name]]:
    """The perturbations in parts of at most so many rows, one perturbation at least."""
    page: list[Name] = []
    height = 0
    for name in names:
        needed = len(_sizes(name, models)[0]) + RULE
        if page and height + needed > rows:
            yield page
            page, height = [], 0
        page.append(name)
        height += needed
    if page:
        yield page


def _cell(model: Results, name: Name, case: str, size: float) -> str:
    for one in model.perturbations:
        curve = _curve(one, case)
        if (one.name, one.unit) == name and curve is not None and size in one.levels:
            k = one.levels.index(size)
            return score_cell(curve.values[k], curve.intervals[k])
    return NOTHING


def _curve(result: PerturbationResult, case: str) -> CaseCurve | None:
    return getattr(result, case)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    yield from (items[k : k + size] for k in range(0, len(items), size))
