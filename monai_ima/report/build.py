"""The whole report from what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from monai_ima.results.provenance import has_other_weights
from monai_ima.results.records import tally
from monai_ima.results.schema import Results

from .blocks import Block, Note, Report, Section, Table, Text, Tiles
from .compare import comparison, labelled
from .logs import Scalars
from .model_sections import model_section
from .perturbation_sections import perturbed
from .training_sections import Margins, curves, margin_findings
from .wording import INTERVALS, NORMS, NOTHING, capitalised, counted, epsilon, metric_name, score, score_at

__all__ = ["build_report"]


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
        ValueError: if the models' norms or metrics differ.
    """
    models = labelled(models)
    sections: list[Section] = []
    if len(models) > 1:
        sections.append(Section("comparison", "Comparison of the models", list(comparison(models))))
    sections += [model_section(one, f"model-{k}") for k, one in enumerate(models, 1)]
    if any(one.perturbations for one in models):
        sections.append(Section("perturbations", "Noise that scanners make", list(perturbed(models))))
    if margins is not None:
        sections.append(Section("margins", "Margins of the training samples", list(margin_findings(margins))))
    if logs is not None:
        sections.append(Section("training", "Training", list(curves(*logs))))
    return Report(
        title or f"Robustness of {models[0].label if len(models) == 1 else f'{len(models)} models'}",
        list(_summary(models)),
        sections,
        f"Written by monai_ima {version('monai-ima')}. For research, not for clinical use.",
    )


def _summary(models: Sequence[Results]) -> Iterator[Block]:
    synthetic = [one.label for one in models if one.data.synthetic]
    if synthetic:
        whose = "" if len(models) == 1 else f" ({', '.join(synthetic)})"
        yield Note(
            "caution",
            "SYNTHETIC data",
            f"The samples were drawn by a program{whose}. The figures say nothing about patients.",
        )
    for one in models:
        if one.failed:
            titles = "; ".join(check.title for check in one.failed)
            yield Note(
                "failed",
                f"Checks for gradient masking: {tally(one.checks or ())}",
                f"{one.label}: {titles}. The score under attack may be too high; do not quote it before the cause is "
                "known.",
            )
        if has_other_weights(one.model.checkpoint, one.model.sha256):
            yield Note(
                "failed",
                "Other weights",
                f"{one.label}: the file {one.model.checkpoint} holds other weights now than those that were measured; "
                "these figures are not theirs.",
            )
    yield from (Text(_headline(one)) for one in models)
    yield Tiles(list(_tiles(models[0]))) if len(models) == 1 else _glance(models)


def _headline(results: Results) -> str:
    """What was measured and what came out, in two sentences."""
    kind = "SYNTHETIC " if results.data.synthetic else ""
    samples = f"{results.data.samples} {kind}sample{'s' * (results.data.samples != 1)} of {results.data.name}"
    count = results.data.patients
    patients = "" if count is None else f" from {count} patient{'s' * (count != 1)}"
    *others, last = (one.name for one in results.attacks)
    attacks = f"{', '.join(others)} and {last}" if others else last
    first = (
        f"{results.label} was attacked on {samples}{patients} in the {NORMS[results.norm]} norm up to "
        f"{epsilon(results.levels[-1], results.pixel_size)} ({attacks})."
    )
    places = [k for k in _places(results)[:2] if k is not None]
    parts = [f"{_with_interval(results, k)} {_where(results, k)}" for k in places]
    return f"{first} Its {metric_name(results)} is {' and '.join(parts)}."


def _places(results: Results) -> tuple[int | None, int | None, int]:
    """Which ε is 0, which is in the middle of those above 0 (the lower one of two), and the largest."""
    above = [k for k, value in enumerate(results.levels) if value > 0]
    clean = 0 if results.levels[0] == 0 else None
    return clean, above[(len(above) - 1) // 2] if above else None, len(results.levels) - 1


def _where(results: Results, k: int) -> str:
    level = results.levels[k]
    return "without attack" if level == 0 else f"under attack at {epsilon(level, results.pixel_size)}"


def _interval(results: Results, k: int) -> str:
    ends = results.strongest.intervals[k]
    return f"95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""


def _with_interval(results: Results, k: int) -> str:
    interval = _interval(results, k)
    return score(results.strongest.values[k]) + (f" ({interval})" if interval else "")


def _tiles(results: Results) -> Iterator[tuple[str, str, str]]:
    for k in dict.fromkeys(_places(results)):
        if k is not None:
            what = f"{metric_name(results)} {_where(results, k)}"
            detail = [text for text in (_interval(results, k), counted(results)) if text]
            yield what, score(results.strongest.values[k]), ", ".join(detail)
    yield "checks for gradient masking", _checks(results), ""


def _checks(results: Results) -> str:
    """How many checks passed, in a few words."""
    return tally(results.checks) if results.checks else "not run"


def _glance(models: Sequence[Results]) -> Table:
    rows = []
    for one in models:
        clean, *attacked = _places(one)
        rows.append(
            [
                f"{one.label} (n = {one.data.samples})",
                NOTHING if clean is None else score_at(one, clean),
                *(
                    NOTHING if k is None else f"{score_at(one, k)} at {epsilon(one.levels[k], one.pixel_size)}"
                    for k in attacked
                ),
                _checks(one),
            ]
        )
    return Table(
        f"{capitalised(metric_name(models[0]))} under all attacks, with {INTERVALS}",
        ["model", "without attack", "middle ε", "largest ε", "checks"],
        rows,
        words=True,
    )
