"""The section on perturbations with parameters: one model, or several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from monai_ima.results.perturbed import CaseCurve, PerturbationResult
from monai_ima.results.schema import Results
from monai_ima.utils.plain_numbers import counted

from .blocks import Block, Figures, Note, Picture, Table, Text
from .charts import LINES_A_CHART, Line, LineChart
from .sample_sections import shown_first
from .wording import (
    CASES,
    INTERVALS,
    NOTHING,
    attack_list,
    capitalised,
    level,
    metric_name,
    score,
    score_cell,
    with_intervals,
)

__all__ = ["perturbed"]

DASHED = {"worst": 0, "average": 1, "torchio": 2}

Found = dict[str, PerturbationResult]
"""The results of one perturbation, by model."""


def perturbed(models: Sequence[Results]) -> Iterator[Block]:
    """Curves, table and pictures of all perturbations that some of the models were measured under."""
    names = dict.fromkeys((one.name, one.unit) for model in models for one in model.perturbations)
    groups: list[Found] = [
        {model.label: one for model in models for one in model.perturbations if (one.name, one.unit) == name}
        for name in names
    ]
    yield Text(
        "Changes that scanners and patients make, each of a size in its own unit. The worst case is the lowest score "
        "that attacks in the parameters of the change, or random draws of them, found up to a size; the average case "
        "is the mean over random draws of exactly that size. Mean degradation is the mean over the sizes of (clean - "
        "score) / clean, as in ROOD-MRI (Boone et al. 2023) but relative to clean: the share of the clean score that "
        "is lost; models that were measured at different sizes have none side by side."
    )
    if any(one.torchio is not None for model in models for one in model.perturbations):
        yield Text(
            "TorchIO: the mean over random transforms of TorchIO, as many as the draws, scaled to the same size."
        )
    yield from _how(models, with_intervals(_intervals(groups)))
    labels = [model.label for model in models if model.perturbations]
    metric = metric_name(models[0])
    places = {model.label: k for k, model in enumerate(models)}
    charts = [chart for found in groups for chart in _charts(found, metric, places)]
    yield Figures(charts, _table(groups, labels, metric, len(models) > 1))
    pictures = [picture for name in names for model in models for picture in _pictures(model, name, len(models) > 1)]
    if pictures:
        yield Text(
            "The sample that is broken most easily, at the smallest size that breaks it, else at the largest: clean, "
            "worst case found, and their difference (red: brighter, blue: darker)."
        )
        yield from shown_first(pictures, 2 * len(models))


def _intervals(groups: Sequence[Found]) -> list[object]:
    return [ends for found in groups for one in found.values() for _, curve in _curves(one) for ends in curve.intervals]


def _how(models: Sequence[Results], known: str) -> Iterator[Block]:
    """With which attacks and how many draws, and what is drawn how; ``known`` is empty where there are no intervals."""
    ways = {
        model.label: f"{attack_list(one.attacks, model.metric)}; {counted(one.draws, 'random draw')}"
        for model in models
        for one in model.perturbations[:1]
    }
    if len(set(ways.values())) == 1:
        measured = f"Measured with: {next(iter(ways.values()))}. "
    else:
        measured = ""
        shown = ". ".join(f"{label}: {way}" for label, way in ways.items())
        yield Note("caution", "Different attacks", f"The model under the weaker attack looks better. {shown}.")
    dotted = any(one.torchio is not None for model in models for one in model.perturbations)
    drawn = "Solid lines are the worst case, dashed ones the average case" + ", dotted ones TorchIO" * dotted
    bands = f" Bands, of the worst case, and brackets are {INTERVALS}." if known else ""
    yield Text(f"{measured}{drawn}.{bands}")


def _charts(found: Found, metric: str, places: Mapping[str, int]) -> Iterator[LineChart]:
    """The curves of one perturbation, at most six a chart; a model's colour goes by its place in the report."""
    lines = [
        Line(
            f"{label}, {CASES[case]}" if len(places) > 1 else CASES[case],
            one.levels,
            curve.values,
            curve.intervals if case == "worst" else (),
            places[label],
            DASHED[case],
        )
        for label, one in found.items()
        for case, curve in _curves(one)
    ]
    first = next(iter(found.values()))
    parts = [lines[k : k + LINES_A_CHART] for k in range(0, len(lines), LINES_A_CHART)]
    for k, part in enumerate(parts, 1):
        title = capitalised(first.title) + (f" ({k} of {len(parts)})" if len(parts) > 1 else "")
        yield LineChart(title, f"size ({first.unit})", metric, part)


def _table(groups: Sequence[Found], labels: Sequence[str], metric: str, several: bool) -> Table:
    cases = [
        case for case in CASES if any(getattr(one, case) is not None for found in groups for one in found.values())
    ]
    header = ["perturbation", "size"]
    header += [f"{label}, {CASES[case]}" if several else CASES[case] for label in labels for case in cases]
    rows = []
    for found in groups:
        first = next(iter(found.values()))
        for size in sorted({size for one in found.values() for size in one.levels}):
            cells = [_cell(found.get(label), case, size) for label in labels for case in cases]
            rows.append([first.title, f"{level(size)} {first.unit}", *cells])
        alike = len({tuple(one.levels) for one in found.values()}) == 1
        lost = [_lost(found.get(label) if alike else None, case) for label in labels for case in cases]
        rows.append([first.title, "mean degradation", *lost])
    return Table(f"{capitalised(metric)} under perturbations{with_intervals(_intervals(groups))}", header, rows)


def _curves(result: PerturbationResult) -> Iterator[tuple[str, CaseCurve]]:
    for case in CASES:
        if getattr(result, case) is not None:
            yield case, getattr(result, case)


def _cell(result: PerturbationResult | None, case: str, size: float) -> str:
    curve = None if result is None else getattr(result, case)
    if result is None or curve is None or size not in result.levels:
        return NOTHING
    k = result.levels.index(size)
    return score_cell(curve.values[k], curve.intervals[k])


def _lost(result: PerturbationResult | None, case: str) -> str:
    return NOTHING if result is None else score(getattr(result.degradation, case))


def _pictures(model: Results, name: tuple[str, str], several: bool) -> Iterator[Picture]:
    for one, picture in zip(model.perturbations, model.source.strips, strict=True):
        if (one.name, one.unit) == name and one.case is not None and picture is not None:
            whose = f"{model.label}: " if several else ""
            held = model.metric == "accuracy" and any(
                sample.worst[-1] > 0 for sample in one.samples if sample.sample_id == one.case.sample_id
            )
            up_to = "not broken up to " if held else ""
            caption = f"{whose}{one.title}, {up_to}{level(one.case.epsilon)} {one.unit}"
            yield Picture(caption, f"{one.case.sample_id}: {one.case.summary}", picture)
