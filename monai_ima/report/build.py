"""The whole report from what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from monai_ima.margins import MarginSummary, MarginTable
from monai_ima.results.schema import Results

from .blocks import Block, Note, Report, Section, Table, Text, Tiles
from .compare import check_comparable, comparison, labels
from .logs import Scalars
from .model_sections import model_section
from .training_sections import curves_section, margins_section
from .wording import (
    INTERVALS,
    NOTHING,
    clean_index,
    epsilon,
    interval,
    metric_word,
    middle_index,
    norm_word,
    score,
    score_at,
)

__all__ = ["Margins", "build_report", "checks_word", "headline"]


@dataclass(frozen=True)
class Margins:
    """A margin table with its summary and the checkpoint it comes from."""

    checkpoint: Path
    table: MarginTable
    summary: MarginSummary


def build_report(
    models: Sequence[Results],
    margins: Margins | None = None,
    logs: tuple[Path, Mapping[str, Scalars]] | None = None,
    title: str | None = None,
) -> Report:
    """A report on one model or several.

    Args:
        models: their results, of one norm and metric.
        margins: of IMA training.
        logs: a folder and what was logged there, by run.
        title: of the report.

    Raises:
        ValueError: when the models' norms or metrics differ.
    """
    check_comparable(models)
    names = labels(models)
    sections: list[Section] = []
    if len(models) > 1:
        sections.append(comparison(models, names))
    sections += [
        model_section(one, name, f"model-{k}") for k, (one, name) in enumerate(zip(models, names, strict=True), 1)
    ]
    if margins is not None:
        sections.append(margins_section(margins.checkpoint, margins.table, margins.summary))
    if logs is not None:
        sections.append(curves_section(*logs))
    summary = list(_summary(models, names))
    return Report(
        title or f"Robustness of {names[0] if len(names) == 1 else f'{len(names)} models'}",
        summary,
        sections,
        f"Written by monai_ima {version('monai-ima')}. For research, not for clinical use.",
    )


def _summary(models: Sequence[Results], names: Sequence[str]) -> Iterator[Block]:
    synthetic = [name for name, one in zip(names, models, strict=True) if one.data.synthetic]
    if synthetic:
        whose = "" if len(models) == 1 else f" ({', '.join(synthetic)})"
        yield Note(
            "caution",
            "SYNTHETIC data",
            f"The samples were drawn by a program{whose}. The figures say nothing about patients.",
        )
    for one, name in zip(models, names, strict=True):
        if one.failed:
            titles = "; ".join(check.title for check in one.failed)
            yield Note(
                "failed",
                f"{len(one.failed)} of {len(one.checks or ())} checks for gradient masking failed",
                f"{name}: {titles}. The score under attack may be too high; do not quote it before the cause is known.",
            )
    for one, name in zip(models, names, strict=True):
        yield Text(headline(one, name))
    if len(models) == 1:
        yield Tiles(list(_tiles(models[0])))
    else:
        yield _glance(models, names)


def headline(results: Results, name: str) -> str:
    """What was measured and what came out, in two sentences."""
    metric = metric_word(results.metric)
    kind = "SYNTHETIC " if results.data.synthetic else ""
    samples = f"{results.data.samples} {kind}sample{'s' * (results.data.samples != 1)} of {results.data.name}"
    count = results.data.patients
    patients = "" if count is None else f" from {count} patient{'s' * (count != 1)}"
    *others, last = (one.name for one in results.attacks)
    attacks = f"{', '.join(others)} and {last}" if others else last
    first = (
        f"{name} was attacked on {samples}{patients} in the {norm_word(results.norm)} norm up to "
        f"{epsilon(results.levels[-1], results.units)} ({attacks})."
    )
    parts = [f"{_with_interval(results, k)} {where}" for k, where in _places(results)]
    return f"{first} Its {metric} is {' and '.join(parts)}."


def _places(results: Results) -> Iterator[tuple[int, str]]:
    """The levels that a headline names."""
    clean, middle = clean_index(results), middle_index(results.levels)
    if clean is not None:
        yield clean, "without attack"
    if middle is not None:
        yield middle, f"under attack at {epsilon(results.levels[middle], results.units)}"


def _with_interval(results: Results, k: int) -> str:
    ends = results.strongest.intervals[k]
    return score(results.strongest.values[k]) + (f" (95 % interval {interval(ends)})" if ends else "")


def _tiles(results: Results) -> Iterator[tuple[str, str, str]]:
    metric = metric_word(results.metric)
    places = list(_places(results))
    last = len(results.levels) - 1
    if last not in [k for k, _ in places]:
        places.append((last, f"under attack at {epsilon(results.levels[last], results.units)}"))
    for k, where in places:
        ends = results.strongest.intervals[k]
        yield f"{metric} {where}", score(results.strongest.values[k]), f"95 % interval {interval(ends)}" if ends else ""
    yield "checks for gradient masking", checks_word(results), ""


def checks_word(results: Results) -> str:
    """How many checks passed, in a few words."""
    if not results.checks:
        return "not run"
    passed = sum(check.status == "passed" for check in results.checks)
    failed = f", {len(results.failed)} failed" if results.failed else ""
    return f"{passed} of {len(results.checks)} passed{failed}"


def _glance(models: Sequence[Results], names: Sequence[str]) -> Table:
    rows = []
    for one, name in zip(models, names, strict=True):
        clean, middle = clean_index(one), middle_index(one.levels)
        last = len(one.levels) - 1
        rows.append(
            [
                name,
                NOTHING if clean is None else score_at(one.strongest, clean),
                NOTHING
                if middle is None
                else f"{score_at(one.strongest, middle)} at {epsilon(one.levels[middle], one.units)}",
                f"{score_at(one.strongest, last)} at {epsilon(one.levels[last], one.units)}",
                checks_word(one),
            ]
        )
    metric = metric_word(models[0].metric)
    return Table(
        f"{metric[0].upper() + metric[1:]} under all attacks, with {INTERVALS}",
        ["model", "without attack", "middle ε", "largest ε", "checks"],
        rows,
        words=True,
    )
