"""The perturbations of an evaluation: measured one after the other, and written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_ima.results.parts import Case
from monai_ima.results.perturbation_list import ListedPerturbation
from monai_ima.results.perturbed import CaseCurve, Degradation, PerturbationResult, PerturbedSample, mean_degradation
from monai_ima.results.records import mean_of_known
from monai_ima.results.run_folder import RecordFile
from monai_ima.results.settings import check_levels
from monai_ima.results.statistics import score_intervals
from monai_ima.utils.workers import workers
from monai_ima.visualize import perturbation_curves, perturbation_strip, save_figure

from .perturbed import PerturbationEvaluator, PerturbedExample
from .share import Share
from .task import Task

__all__ = [
    "MeasuredPerturbation",
    "measure_perturbations",
    "perturbation_results",
    "perturbation_tables",
    "stages_from",
]

logger = logging.getLogger(__name__)

FIGURE = "perturbations.png"


@dataclass(frozen=True)
class MeasuredPerturbation:
    """What was found under one perturbation.

    Attributes:
        listed: the perturbation and its levels.
        evaluator: that measured it.
        samples: the scores of every sample.
    """

    listed: ListedPerturbation
    evaluator: PerturbationEvaluator
    samples: list[PerturbedSample]


def measure_perturbations(
    task: Task[Any, Any, Any], folder: Path, samples: int | None = None
) -> list[MeasuredPerturbation]:
    """Attack every sample in the parameters of each perturbation that the settings name.

    Several processes share the samples, as those of the rest of an evaluation.

    Args:
        task: whose network and data.
        folder: keeps the scores as they come; what an interrupted evaluation has is taken from it.
        samples: how many there are, where that is known.
    """
    return [_measured(task, folder, k, samples) for k in range(len(task.settings.perturbations))]


def stages_from(task: Task[Any, Any, Any], first: int) -> int:
    """How many stages every sample goes through from a perturbation on.

    Args:
        task: whose perturbations.
        first: the perturbation's number, from 0 on.
    """
    listed = task.settings.perturbations[first:]
    return sum(len(_evaluator(task, one).stages(check_levels(one.levels))) for one in listed)


def _evaluator(task: Task[Any, Any, Any], listed: ListedPerturbation) -> PerturbationEvaluator:
    settings = task.settings
    attacks = task.loaded.attacks(task.attack_names, settings.norm, listed.perturbation)
    return PerturbationEvaluator(task.evaluator, attacks, listed.name, settings.draws, settings.torchio)


def _measured(task: Task[Any, Any, Any], folder: Path, k: int, count: int | None) -> MeasuredPerturbation:
    loaded, team, listed = task.loaded, workers(), task.settings.perturbations[k]
    evaluator = _evaluator(task, listed)
    records = RecordFile(folder / f"perturbation{k}.jsonl", evaluator.record_type, team.rank)
    share = Share(records, f"perturbation{k}/")
    done = share.begin()
    with team.checked():
        samples = evaluator.run(
            loaded.data_loader,
            listed.levels,
            progress=team.leader,
            done=done,
            on_records=records.append,
            share=share,
            samples=count,
            later=stages_from(task, k + 1),
        )
    if team.leader:
        _warn_of_lost_labels(listed, samples)
    return MeasuredPerturbation(listed, evaluator, samples)


def _warn_of_lost_labels(listed: ListedPerturbation, samples: Sequence[PerturbedSample]) -> None:
    for k, size in enumerate(listed.levels):
        lost = [sample.sample_id for sample in samples if sample.average[k] is None]
        if lost:
            logger.warning(
                f"{listed.title} of {size:g} {listed.perturbation.unit} moves the whole label of {len(lost)} of "
                f"{len(samples)} samples (first {lost[0]!r}) out of the image in every draw: no average there."
            )


def perturbation_results(
    task: Task[Any, Any, Any], measured: Sequence[MeasuredPerturbation], folder: Path
) -> list[PerturbationResult]:
    """The results of all perturbations; writes their pictures and their figure.

    Args:
        task: whose network and data.
        measured: what was found.
        folder: to write to.
    """
    for old in [folder / FIGURE, *folder.glob("perturbations/*.png")]:
        old.unlink(missing_ok=True)
    results = [_result(task, one, folder, f"perturbations/{k:02d}.png") for k, one in enumerate(measured)]
    if results:
        metric = "Dice" if task.loaded.segments else "accuracy"
        title = f"{results[0].draws} random draws of each size; worst case: {'+'.join(results[0].attacks)} and these"
        save_figure(perturbation_curves(results, metric, title), folder / FIGURE)
    return results


def _result(
    task: Task[Any, Any, Any], measured: MeasuredPerturbation, folder: Path, picture: str
) -> PerturbationResult:
    listed, samples = measured.listed, measured.samples
    patients = [sample.patient for sample in samples]
    known = None if None in patients else [str(patient) for patient in patients]
    worst = _curve([sample.worst for sample in samples], known)
    average = _curve([sample.average for sample in samples], known)
    transformed = [sample.torchio for sample in samples if sample.torchio is not None]
    torchio = _curve(transformed, known) if len(transformed) == len(samples) else None
    return PerturbationResult(
        name=listed.name,
        title=listed.title,
        unit=listed.perturbation.unit,
        levels=list(listed.levels),
        attacks=list(measured.evaluator.attacks),
        draws=measured.evaluator.draws,
        worst=worst,
        average=average,
        torchio=torchio,
        degradation=Degradation(
            worst=mean_degradation(worst.values),
            average=mean_degradation(average.values),
            torchio=None if torchio is None else mean_degradation(torchio.values),
        ),
        samples=samples,
        case=_drawn(task, measured, folder, picture),
    )


def _curve(rows: Sequence[Sequence[float | None]], patients: Sequence[str] | None) -> CaseCurve:
    values = [mean_of_known(column) for column in zip(*rows, strict=True)]
    return CaseCurve(values=values, intervals=score_intervals(rows, patients))


def _drawn(task: Task[Any, Any, Any], measured: MeasuredPerturbation, folder: Path, picture: str) -> Case | None:
    """Draw the sample that is broken most easily, at the smallest size that breaks it, else the largest."""
    levels = measured.listed.levels
    sample = min(measured.samples, key=lambda one: (-one.degradation, one.sample_id))
    size = next((levels[k] for k, score in enumerate(sample.worst) if score == 0), levels[-1])
    if size == 0:
        return None
    examples = measured.evaluator.examples(task.loaded.data_loader, {sample.sample_id: size})
    if sample.sample_id not in examples:
        return None
    example, listed = examples[sample.sample_id], measured.listed
    title = f"{listed.title}, {size:g} {listed.perturbation.unit}"
    figure = perturbation_strip(example.clean, example.changed, example.foreground, title, example.affine)
    save_figure(figure, folder / picture)
    return Case(sample_id=example.sample_id, epsilon=size, summary=_scored(task, example), picture=picture)


def _scored(task: Task[Any, Any, Any], example: PerturbedExample) -> str:
    if task.loaded.segments:
        return f"Dice {example.clean_score:.3f} clean, {example.score:.3f} in the worst case"
    return f"correct clean, {'correct' if example.score else 'wrong'} in the worst case"


def perturbation_tables(results: Sequence[PerturbationResult]) -> dict[str, list[Sequence[Any]]]:
    """perturbations.csv, where there are any: a row for each perturbation, size and sample."""
    measured = any(one.torchio is not None for one in results)
    header = ["perturbation", "unit", "size", "sample_id", "patient", "worst", "average"]
    rows: list[Sequence[Any]] = [header + ["torchio"] * measured]
    for one in results:
        for k, size in enumerate(one.levels):
            for sample in one.samples:
                scores = [sample.worst[k], sample.average[k]]
                if measured:
                    scores.append(None if sample.torchio is None else sample.torchio[k])
                rows.append([one.name, one.unit, size, sample.sample_id, sample.patient, *scores])
    return {"perturbations.csv": rows} if results else {}
