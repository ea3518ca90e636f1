"""Several models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from monai_ima.results.schema import Results, Units

from .blocks import Block, Figures, Note, Section, Table, Text
from .charts import Line, LineChart
from .wording import INTERVALS, NOTHING, axis, epsilon, level_cells, level_header, metric_word, score_at, second_axis

__all__ = ["check_comparable", "comparison", "labels"]


def labels(models: Sequence[Results]) -> list[str]:
    """One name a model: what the user calls it, else its own, with its weights' or folder's where several share it."""
    names = [one.label for one in models]
    weights = [f"{name}, {PurePath(one.model.checkpoint or '').name}" for name, one in zip(names, models, strict=True)]
    folders = [f"{name}, {one.source.file.parent.name}" for name, one in zip(names, models, strict=True)]
    numbered = [f"{name}, {k}" for k, name in enumerate(names, 1)]
    return next(some for some in (names, weights, folders, numbered) if len(set(some)) == len(some))


def check_comparable(models: Sequence[Results]) -> None:
    """Refuse models whose figures are of different kinds.

    Raises:
        ValueError: when norms or metrics differ.
    """
    first = models[0]
    for other in models[1:]:
        for what, one, two in (("norm", first.norm, other.norm), ("metric", first.metric, other.metric)):
            if one != two:
                files = first.source.file, other.source.file
                raise ValueError(f"{files[0]} has {what} {one} and {files[1]} {two}, expected the same in one report.")


def comparison(models: Sequence[Results], names: Sequence[str]) -> Section:
    """All models under their strongest attacks.

    Args:
        models: at least two, of one norm and metric.
        names: how the report calls them.
    """
    return Section("comparison", "Comparison of the models", list(_comparison(models, names)))


def _comparison(models: Sequence[Results], names: Sequence[str]) -> Iterator[Block]:
    yield from _differences(models, names)
    units = _common_units(models)
    metric = metric_word(models[0].metric)
    lines = [
        Line(name, one.levels, one.strongest.values, one.strongest.intervals)
        for name, one in zip(names, models, strict=True)
    ]
    title = f"{metric[0].upper() + metric[1:]} under all attacks of each model"
    chart = LineChart(title, axis(models[0].norm, units), metric, lines, second=second_axis(units))
    rows = [
        [
            *level_cells(level, units),
            *(score_at(one.strongest, one.levels.index(level)) if level in one.levels else NOTHING for one in models),
        ]
        for level in sorted({level for one in models for level in one.levels})
    ]
    table = Table(f"{title}, with {INTERVALS}", [*level_header(units), *names], rows)
    yield Figures([chart], table)


def _differences(models: Sequence[Results], names: Sequence[str]) -> Iterator[Block]:
    """What a reader must know before comparing the lines."""
    if len({(one.data.name, one.data.samples) for one in models}) > 1:
        shown = "; ".join(
            f"{name}: {one.data.samples} samples of {one.data.name}" for name, one in zip(names, models, strict=True)
        )
        yield Note("caution", "Different data", f"The models were not measured on the same samples. {shown}.")
    if len({tuple(attack.name for attack in one.attacks) for one in models}) > 1:
        shown = "; ".join(
            f"{name}: {', '.join(attack.name for attack in one.attacks)}"
            for name, one in zip(names, models, strict=True)
        )
        yield Note("caution", "Different attacks", f"The model under the weaker attack looks better. {shown}.")
    if len({one.units for one in models}) > 1:
        top = "; ".join(
            f"{name}: {epsilon(one.levels[-1], one.units)}" for name, one in zip(names, models, strict=True)
        )
        yield Note(
            "caution",
            "Different intensity scales",
            f"ε is in each network’s own units here, so equal ε are not equal perturbations. Largest ε: {top}.",
        )
    else:
        yield Text(f"Each line is drawn at the ε its model was measured at. Bands are {INTERVALS}.")


def _common_units(models: Sequence[Results]) -> Units | None:
    return models[0].units if len({one.units for one in models}) == 1 else None
