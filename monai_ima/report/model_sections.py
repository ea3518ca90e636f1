"""The sections of a report that are about one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

from monai_ima.results.base import Curve, Distances
from monai_ima.results.records import as_outputs
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.results.statistics import FEWEST
from monai_ima.utils.plain_numbers import counted

from .blocks import Block, Details, Figures, Section, Table, Text
from .charts import LINES_A_CHART, Line, LineChart
from .sample_sections import distances, worst_cases
from .trust_sections import checks, verification
from .wording import (
    NORMS,
    attack_list,
    attack_words,
    attacked,
    axis,
    capitalised,
    counted_samples,
    epsilon,
    level_table,
    metric_name,
    score,
    score_cell,
    under,
    with_intervals,
)

__all__ = ["model_section", "strongest_figure"]


def model_section(results: Results, name: str) -> Section:
    """Everything about one model that was measured; what was not is left out.

    Args:
        results: what was measured.
        name: what the ids of its sections begin with.
    """
    parts = [
        ("curves", "Under attack", _curves(results)),
        ("classes", "By label" if _multi_label(results) else "By class", _classes(results)),
        ("distances", "Smallest perturbation that breaks a sample", distances(results)),
        ("cases", "Worst cases", worst_cases(results)),
        ("groups", "Subgroups", _groups(results)),
        ("checks", "Checks for gradient masking", checks(results)),
        ("verification", "Independent verification", verification(results)),
    ]
    found = [(part, title, list(blocks)) for part, title, blocks in parts]
    return Section(
        name, results.label, (), [Section(f"{name}-{part}", title, blocks) for part, title, blocks in found if blocks]
    )


def strongest_figure(results: Results) -> Figures:
    """The score under all attacks, the only curve to quote."""
    strongest = results.strongest
    name = "all attacks" if attacked(results) else "no attack"
    line = Line(name, results.levels, strongest.values, strongest.intervals)
    known = with_intervals(strongest.intervals)
    title = f"{metric_name(results)} {under('the strongest attack', results)}{known}"
    return replace(_over_levels(results, title, [line]), open=True)


def _multi_label(results: Results) -> TypeGuard[ClassificationResults]:
    return isinstance(results, ClassificationResults) and results.multi_label


def _curves(results: Results) -> Iterator[Block]:
    if _multi_label(results):
        yield Text(
            f"A sample has any number of the {len(results.classes)} labels; it counts as correct only if the network "
            "is right about each of them (exact match)."
        )
    yield Text(f"{_attacked(results)} {_about_intervals(results)}")
    if attacked(results):
        if len(results.attacks) > 1:
            yield _each_attack(results)
        yield from _noise(results)
    if isinstance(results, SegmentationResults):
        whose = f"all classes (n = {results.data.samples})"
        yield _surface_table(results, whose, results.surface_dice, results.hd95)


def _attacked(results: Results) -> str:
    """What was done to how many samples."""
    whom = f"{counted_samples(results)} ({results.data.name})"
    if not attacked(results):
        return f"{whom} were measured without an attack: no ε above 0 was."
    last = epsilon(results.levels[-1], results.pixel_size)
    words = attack_list([one.name for one in results.attacks], results.metric)
    return f"{whom} were attacked in the {NORMS[results.norm]} norm up to {last} by: {words}."


def _each_attack(results: Results) -> Details:
    """The curves of all attacks, folded."""
    cumulative = Text(
        "Attacks are cumulative: a sample counts as correct only if it is robust to the named attack and all "
        "before it, so the last line is the one to quote."
        if results.metric == "accuracy"
        else "Attacks are cumulative: each scan counts with its lowest Dice under the named attack and all before "
        "it, so the last line is the one to quote."
    )
    lines = [
        Line(attack_words(one.name, results.metric), results.levels, one.values, one.intervals)
        for one in results.attacks
    ]
    known = with_intervals(ends for one in results.attacks for ends in one.intervals)
    title = f"{metric_name(results)} under attack{known}"
    figures = replace(_over_levels(results, title, lines), open=True)
    return Details(f"All {len(lines)} attacks one after the other", [cumulative, figures])


def _about_intervals(results: Results) -> str:
    patients, samples = results.data.patients, results.data.samples
    whom = counted_samples(results)
    if (samples if patients is None else patients) < FEWEST:
        return f"No intervals: {whom} are too few to say how much others differ, {FEWEST} are the fewest."
    return (
        f"Intervals are over {whom}: they say how far other samples of the same kind may differ, not other scanners or "
        "another training."
    )


def _surface_table(results: SegmentationResults, whose: str, surface_dice: Curve, hd95: Distances) -> Table:
    columns = [
        ("surface Dice", list(map(score, surface_dice))),
        (f"HD95 ({results.distance_unit})", [score(value, 2) for value in hd95]),
    ]
    where = under("all attacks", results)
    caption = f"Surface Dice and 95th percentile of the surface distance (HD95) {where}: {whose}"
    return level_table(caption, results.levels, results.pixel_size, columns)


def _over_levels(results: Results, title: str, lines: Sequence[Line], label: str | None = None) -> Figures:
    """Line charts over the levels, at most six lines each, with the table of all lines."""
    title = capitalised(title)
    groups = [lines[k : k + LINES_A_CHART] for k in range(0, len(lines), LINES_A_CHART)]
    charts = [
        LineChart(
            title if len(groups) == 1 else f"{title} ({k} of {len(groups)})",
            axis(results.pixel_size),
            label or metric_name(results),
            group,
            second=results.pixel_size.scale,
        )
        for k, group in enumerate(groups, 1)
    ]
    columns = [(one.name, list(map(score_cell, one.y, one.intervals or [None] * len(one.y)))) for one in lines]
    return Figures(charts, level_table(f"{title}: the numbers", results.levels, results.pixel_size, columns))


def _classes(results: Results) -> Iterator[Block]:
    if not results.by_class:
        return
    names = dict(zip(results.by_class, _class_names(results), strict=True))
    lines = [Line(names[name], results.levels, curve) for name, curve in results.by_class.items()]
    if _multi_label(results):
        yield from _labels(results, lines)
        return
    yield _over_levels(results, f"{metric_name(results)} by class {under('all attacks', results)}", lines)
    if isinstance(results, SegmentationResults):
        tables = [
            _surface_table(results, names[name], results.surface_dice_by_class[name], results.hd95_by_class[name])
            for name in results.by_class
        ]
        yield Details("Surface Dice and HD95 by class", tables)


def _class_names(results: Results) -> list[str]:
    """The classes, each with the number of samples that its figures are of."""
    if isinstance(results, ClassificationResults):
        counts = [results.labelled(k) for k in range(len(results.by_class))]
    elif isinstance(results, SegmentationResults):
        first = [scan.scores[0].dice for scan in results.samples]
        counts = [sum(dice[k] is not None for dice in first) for k in range(len(results.by_class))]
    return [f"{name} (n = {count})" for name, count in zip(results.by_class, counts, strict=True)]


def _labels(results: ClassificationResults, lines: Sequence[Line]) -> Iterator[Block]:
    """Each label by itself: the share of the samples that the network is right about, and its errors."""
    yield Text(
        "Share of the samples about whose one label the network is right; a sample that was broken counts as predicted "
        "for the image that broke it. Attacks go for the label that is easiest to turn: a label that looks robust here "
        "may only have been spared."
    )
    yield _over_levels(results, f"accuracy by label {under('all attacks', results)}", lines, "accuracy")
    levels = list(dict.fromkeys([results.levels[0], results.levels[-1]]))
    where = [f"at {epsilon(level, results.pixel_size)}" for level in levels]
    header = [
        "label",
        "samples with it",
        *(f"{kind} {place}" for place in where for kind in ("missed", "false alarms")),
    ]
    rows = []
    for k, name in enumerate(results.classes):
        truth = [as_outputs(sample.label)[k] for sample in results.samples]
        row = [name, str(truth.count(1))]
        for level in levels:
            found = [as_outputs(sample.predicted_at(level))[k] for sample in results.samples]
            pairs = list(zip(truth, found, strict=True))
            row += [str(pairs.count((1, 0))), str(pairs.count((0, 1)))]
        rows.append(row)
    yield Table("Errors by label, in samples", header, rows)


def _noise(results: Results) -> Iterator[Block]:
    noise = results.noise
    if noise is None:
        return
    lines = [Line(f"uniform noise, {counted(noise.draws, 'draw')}", results.levels, noise.failure_rate)]
    if isinstance(results, ClassificationResults) and any(sample.correct for sample in results.samples):
        lines.append(Line("all attacks", results.levels, _broken(results)))
    correct = sum(sample.correct for sample in results.samples) if isinstance(results, ClassificationResults) else None
    whose = "correct predictions" if correct is None else counted(correct, "correct prediction")
    text = Text(
        f"Share of {whose} that perturbations of the same norm break. Uniform random noise is an average "
        "case, the attack the worst case; a network can be robust to the first and not to the second."
    )
    yield Details(
        "Uniform random noise",
        [text, _over_levels(results, "share of correct predictions broken", lines, "share broken")],
    )


def _broken(results: ClassificationResults) -> list[float]:
    broken = [sample.broken for sample in results.samples if sample.correct]
    return [sum(level is not None and level <= eps for level in broken) / len(broken) for eps in results.levels]


def _groups(results: Results) -> Iterator[Block]:
    groups = results.groups
    if groups is None:
        return
    lines = [
        Line(f"{name} (n = {groups.samples[name]})", results.levels, groups.values[name], groups.intervals[name])
        for name in groups.samples
    ]
    metric = metric_name(results)
    known = with_intervals(ends for name in groups.samples for ends in groups.intervals[name])
    if groups.largest_gap is not None:
        gap = groups.largest_gap
        one, other = (f"{name} ({counted(groups.samples[name], 'sample')})" for name in gap.between)
        yield Text(
            f"The largest gap in {metric} is {gap.gap:.3f}, between {one} and {other} at "
            f"{epsilon(gap.level, results.pixel_size)}. {_about_gaps(known)}"
        )
    yield _over_levels(results, f"{metric} by {groups.column} {under('all attacks', results)}{known}", lines)


def _about_gaps(known: str) -> str:
    if known:
        return "Small subgroups have wide intervals: a gap within them may be chance."
    return "Between subgroups as small as these a gap may be chance."
