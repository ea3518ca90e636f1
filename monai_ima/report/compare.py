"""Several models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from monai_ima.results.schema import Results
from monai_ima.utils.checks import check_instance

from .blocks import Block, Figures, Note, Text
from .charts import Line, LineChart
from .wording import (
    INTERVALS,
    NOTHING,
    attack_list,
    axis,
    capitalised,
    common_size,
    counted_samples,
    epsilon,
    level_table,
    metric_name,
    score_at,
    under,
    with_intervals,
)

__all__ = ["comparison", "comparison_figure", "labelled"]


def labelled(models: Sequence[Results]) -> list[Results]:
    """The models with a label each: what the user calls it, else its own name, with its weights' or folder's where
    several share it.

    Raises:
        TypeError: if one is something else than results.
        ValueError: if there are none, or norms or metrics differ.
    """
    given = models if isinstance(models, Sequence) else [models]
    if not given:
        raise ValueError("Got no models, expected the results of at least one.")
    for model in given:
        check_instance("models", model, Results, "a sequence of results, such as [Results.read(path)]")
    first = models[0]
    for other in models[1:]:
        for what, one, two in (("norm", first.norm, other.norm), ("metric", first.metric, other.metric)):
            if one != two:
                files = first.source.file, other.source.file
                raise ValueError(f"{files[0]} has {what} {one} and {files[1]} {two}, expected the same in one report.")
    names = [one.label for one in models]
    weights = [f"{one.label}, {PurePath(one.model.checkpoint or '').name}" for one in models]
    folders = [f"{one.label}, {one.source.file.parent.name}" for one in models]
    numbered = [f"{one.label}, {k}" for k, one in enumerate(models, 1)]
    labels = next(some for some in (names, weights, folders, numbered) if len(set(some)) == len(some))
    return [one.named(label) for one, label in zip(models, labels, strict=True)]


def comparison_figure(models: Sequence[Results]) -> Figures:
    """At least two models of one norm and metric under their strongest attacks."""
    size = common_size(models)
    metric = metric_name(models[0])
    lines = [Line(one.label, one.levels, one.strongest.values, one.strongest.intervals) for one in models]
    title = f"{capitalised(metric)} {under('all attacks of each model', *models)}"
    chart = LineChart(title, axis(size), metric, lines, second=size.scale)
    levels = sorted({level for one in models for level in one.levels})
    columns = [
        (
            f"{one.label} (n = {one.data.samples})",
            [score_at(one, one.levels.index(level)) if level in one.levels else NOTHING for level in levels],
        )
        for one in models
    ]
    known = with_intervals(_intervals(models))
    return Figures([chart], level_table(f"{title}{known}", levels, size, columns), open=True)


def _intervals(models: Sequence[Results]) -> list[object]:
    return [ends for one in models for ends in one.strongest.intervals]


def comparison(models: Sequence[Results]) -> Iterator[Block]:
    """What a reader must know before comparing the lines."""
    if len({(one.data.name, one.data.samples) for one in models}) > 1:
        shown = "; ".join(f"{one.label}: {counted_samples(one)} of {one.data.name}" for one in models)
        yield Note("caution", "Different data", f"The models were not measured on the same samples. {shown}.")
    if len({tuple(attack.name for attack in one.attacks) for one in models}) > 1:
        shown = ". ".join(
            f"{one.label}: {attack_list([attack.name for attack in one.attacks], one.metric)}" for one in models
        )
        yield Note("caution", "Different attacks", f"The model under the weaker attack looks better. {shown}.")
    if len({one.units for one in models}) > 1:
        top = "; ".join(f"{one.label}: {epsilon(one.levels[-1], one.pixel_size)}" for one in models)
        yield Note(
            "caution",
            "Different intensity scales",
            f"ε is in each network’s own units here, so equal ε are not equal perturbations. Largest ε: {top}.",
        )
    bands = f" Bands are {INTERVALS}." if with_intervals(_intervals(models)) else ""
    yield Text(f"Each line of the figure is drawn at the ε its model was measured at.{bands}")
