"""Tables of what is left under changes with parameters: of several models a grid for each case, the models beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monai_ima.report.wording import CASES, INTERVALS, NOTHING, capitalised, level, metric_name, score_cell
from monai_ima.results.perturbed import CaseCurve, PerturbationResult
from monai_ima.results.schema import Results

from .latex import WIDE, Grid, PaperTable, parts
from .prose import changes, joined

__all__ = ["perturbation_tables"]

TALL, HEAD, RULE = 48, 4, 2
"""Rows of a table that fit on a page; those that a head takes, and those that the name of a group takes."""
MEANINGS = {
    "worst": "the lowest that attacks in the parameters of the change, or random draws, found up to that size",
    "average": "the mean over random draws of exactly that size",
    "torchio": "the mean over random transforms of TorchIO of matched size",
}

Name = tuple[str, str]
"""Of a perturbation and of its unit."""
Column = tuple[Results, str]
"""A model and a case."""


def perturbation_tables(models: Sequence[Results]) -> Iterator[PaperTable]:
    """As many tables as pages are needed; none where nothing was measured.

    Args:
        models: of one metric, with a label each.
    """
    measured = [model for model in models if model.perturbations]
    names = list(dict.fromkeys((one.name, one.unit) for model in measured for one in model.perturbations))
    if not names:
        return
    tallest = HEAD + RULE + max(len(_sizes(name, models)[0]) for name in names)
    blocks = list(_blocks(measured))
    tables = [
        (chosen, page)
        for chosen in parts(blocks, _evenly(len(blocks), max(1, TALL // tallest)))
        for page in _pages(names, models, TALL // len(chosen) - HEAD)
    ]
    for number, (chosen, page) in enumerate(tables, 1):
        numbered = len(tables) > 1
        yield PaperTable(
            "tab:perturbations" + (f"-{number}" if numbered else ""),
            _caption(
                [column for block in chosen for column in block], page, f" (part {number} of {len(tables)})" * numbered
            ),
            [grid for block in chosen if (grid := _grid(page, block, len(measured) > 1)) is not None],
        )


def _blocks(measured: Sequence[Results]) -> Iterator[Sequence[Column]]:
    """The columns of each grid: of one model its cases, of several the models in one case."""
    cases = [case for case in CASES if any(_curve(one, case) for model in measured for one in model.perturbations)]
    if len(measured) == 1:
        yield [(measured[0], case) for case in cases]
        return
    for case in cases:
        yield from ([(model, case) for model in part] for part in parts(measured, WIDE))


def _evenly(count: int, most: int) -> int:
    """The size of the fewest parts of at most so many, about equal ones."""
    return -(-count // -(-count // most))


def _caption(columns: Sequence[Column], names: Sequence[Name], part: str) -> str:
    found = [(case, _found(model, name, case)) for model, case in columns for name in names]
    there = [(case, curve) for case, curve in found if curve is not None]
    ends = [one for _, curve in there for one in curve.intervals]
    cases = [f"{MEANINGS[case]} ({CASES[case]})" for case in dict(there)]
    brackets = f", with {INTERVALS} in brackets" if any(ends) else ""
    where = " where there are enough patients for them" if brackets and not all(ends) else ""
    first, _ = columns[0]
    what = f"{capitalised(metric_name(first))} under {changes(first.metric)}"
    return f"{what}{part}, by size: {joined(cases)}{brackets}{where}."


def _grid(names: Sequence[Name], columns: Sequence[Column], several: bool) -> Grid | None:
    """One grid; None where no model has any of it."""
    models = [model for model, _ in columns]
    groups = []
    for name in names:
        if any(_found(model, name, case) for model, case in columns):
            sizes, title = _sizes(name, models)
            rows = [[level(size), *(_cell(model, name, case, size) for model, case in columns)] for size in sizes]
            groups.append((f"{capitalised(title)}, {name[1]}", rows))
    if not groups:
        return None
    if several:
        return Grid([f"size, {CASES[columns[0][1]]}", *(model.label for model in models)], groups)
    return Grid(["size", *(CASES[case] for _, case in columns)], groups)


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


def _found(model: Results, name: Name, case: str) -> CaseCurve | None:
    return next((_curve(one, case) for one in model.perturbations if (one.name, one.unit) == name), None)


def _curve(result: PerturbationResult, case: str) -> CaseCurve | None:
    return getattr(result, case)
