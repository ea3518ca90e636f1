"""The whole report from what was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from monai_ima.results.schema import Results
from monai_ima.utils.plain_numbers import counted

from .appendix import appendix
from .blocks import Block, Items, Note, Report, Section
from .compare import comparison, comparison_figure, labelled
from .comparison_sections import differences
from .logs import Scalars
from .model_sections import model_section, strongest_figure
from .not_measured import not_measured
from .pairs import paired
from .perturbation_sections import perturbed
from .training_sections import Margins, curves, margin_findings
from .verdict import verdict

__all__ = ["build_report"]

LONGEST_TITLE = 60


def build_report(
    models: Sequence[Results],
    margins: Margins | None = None,
    logs: tuple[Path, Mapping[str, Scalars]] | None = None,
    title: str | None = None,
    open_appendix: bool = False,
    submission: bool = False,
) -> Report:
    """A report on one model or several.

    Args:
        models: their results, of one norm and metric.
        margins: of IMA training.
        logs: a folder and what was logged there, by run.
        title: of the report.
        open_appendix: the appendix is shown and printed; else it is folded.
        submission: the appendix sorts the figures by the questions of regulatory documents.

    Raises:
        ValueError: if the models' norms or metrics differ.
    """
    models = labelled(models)
    pairs = paired(models)
    sections: list[Section] = []
    if len(models) > 1:
        sections.append(Section("comparison", "Comparison of the models", list(comparison(models))))
        sections.append(Section("differences", "Differences between the models", list(differences(models, pairs))))
    if any(one.perturbations for one in models):
        sections.append(Section("perturbations", "Noise that scanners make", list(perturbed(models))))
    sections += [model_section(one, f"model-{k}") for k, one in enumerate(models, 1)]
    if margins is not None:
        sections.append(Section("margins", "Margins of the training samples", list(margin_findings(margins))))
    if logs is not None:
        sections.append(Section("training", "Training", list(curves(*logs))))
    missing = list(not_measured(models, margins is not None, logs is not None))
    if missing:
        sections.append(Section("not-measured", "What was not measured", [Items(missing)]))
    return Report(
        title or f"Robustness of {_names(models)}",
        [*_synthetic(models), *_validated(models), *_same_weights(models), verdict(models, pairs)],
        strongest_figure(models[0]) if len(models) == 1 else comparison_figure(models),
        sections,
        appendix(models, submission),
        f"Written by monai_ima {version('monai-ima')}. For research, not for clinical use.",
        open_appendix,
    )


def _names(models: Sequence[Results]) -> str:
    labels = [one.label for one in models]
    together = " and ".join(labels)
    return (
        together
        if len(labels) == 1 or (len(labels) == 2 and len(together) <= LONGEST_TITLE)
        else counted(len(labels), "model")
    )


def _synthetic(models: Sequence[Results]) -> Iterator[Block]:
    synthetic = [one.label for one in models if one.data.synthetic]
    if synthetic:
        whose = _whose(synthetic, models)
        yield Note("caution", "SYNTHETIC data", f"drawn by a program{whose}: the figures say nothing about patients.")


def _validated(models: Sequence[Results]) -> Iterator[Block]:
    validated = [one.label for one in models if one.data.validation]
    if validated:
        whose = _whose(validated, models)
        yield Note(
            "caution",
            "Validation data",
            f"of the bundle’s training config{whose}: where they chose the weights, new samples may score lower.",
        )


def _whose(labels: Sequence[str], models: Sequence[Results]) -> str:
    return "" if len(labels) == len(models) else f" ({', '.join(labels)})"


def _same_weights(models: Sequence[Results]) -> Iterator[Block]:
    by_weights: dict[str, list[str]] = {}
    for one in models:
        if one.model.sha256 is not None:
            by_weights.setdefault(one.model.sha256, []).append(one.label)
    for labels in by_weights.values():
        if len(labels) > 1:
            yield Note(
                "caution",
                "The same weights",
                f"were measured as {' and as '.join(labels)}: no difference between these comes from training.",
            )
