"""From a loaded network to results: the steps that are the same whatever the task."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monai_ima.attacks.channels import attacked_channels
from monai_ima.criteria import BinaryCriterion
from monai_ima.inferers import AveragedInferer, gradient_inferer
from monai_ima.results.parts import AttackCurve, Case, Units
from monai_ima.results.pixel_size import image_values
from monai_ima.results.provenance import command_line, commit, machine, python_call, today, versions
from monai_ima.results.run_folder import RecordFile, check_folder, remove_pictures, shared_folder
from monai_ima.results.schema import FORMAT, ClassificationResults, Results, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.results.statistics import score_intervals
from monai_ima.results.subgroups import check_groups, subgroups
from monai_ima.utils.checks import check_channels
from monai_ima.utils.files import whole_file
from monai_ima.utils.ignored_labels import counted_entries, has_label
from monai_ima.utils.spacing import image_spacing
from monai_ima.utils.tensors import plain
from monai_ima.utils.weights import check_weights, load_weights
from monai_ima.utils.workers import workers
from monai_ima.visualize import save_figure

from .batch import check_any, note_ids
from .classification_task import ClassificationTask
from .fingerprint import data_digest
from .loaded import LoadedBundle
from .network_check import NetworkCheck
from .perturbation_run import (
    MeasuredPerturbation,
    measure_perturbations,
    perturbation_results,
    perturbation_tables,
    stages_from,
)
from .segmentation_task import SegmentationTask
from .share import Share
from .task import Task
from .torchio_draws import check_torchio
from .verification import check_gradient_masking, read_records, verify

__all__ = ["evaluate_loaded", "measure"]

RECORDS = "records.jsonl"


def evaluate_loaded(
    settings: EvaluationSettings, loaded: LoadedBundle, units: Units | None = None
) -> ClassificationResults | SegmentationResults:
    """Evaluate, or resume an interrupted evaluation; write everything to ``settings.folder``.

    Several processes (:func:`~monai_ima.utils.workers.workers`) share the samples. One of them does all else and
    writes; the others wait for it and return the results that it wrote.

    Args:
        settings: of the evaluation.
        loaded: what is evaluated.
        units: what ε is worth in the data's own intensity; needed where the levels are in these.

    Raises:
        ConnectionError: if another of the processes has failed or is gone.
        FileExistsError: if the folder holds anything but an interrupted evaluation with the same settings and weights.
        ValueError: if the settings do not go with the network or the data; names the sample.
    """
    team, folder = workers(), settings.folder
    check_folder(folder, _noted(settings))
    loaded = _adapted(settings, loaded)
    data, samples = _checked_data(settings, loaded)
    note = {**_noted(settings), "weights_sha256": loaded.weights_sha256, "data_sha256": data}
    with (
        shared_folder(folder, lambda: note),
        torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []),
    ):
        torch.manual_seed(settings.seed)
        task, outcome = _attacked(settings, loaded, folder, units, samples)
        perturbed = measure_perturbations(task, folder, samples)
        if team.leader:
            results = _written(task, outcome, perturbed, folder, units)
            results = results.model_copy(update={"data": results.data.model_copy(update={"sha256": data})})
            results.write(folder)
            team.publish("finished")
            return results
    team.wait("finished")
    return Results.read(folder)


def _noted(settings: EvaluationSettings) -> dict[str, Any]:
    """The settings that an interrupted evaluation has to have: of perturbations also that TorchIO is not measured."""
    return {**settings.arguments(), **({} if settings.perturbation is None else {"torchio": settings.torchio})}


def _adapted(settings: EvaluationSettings, loaded: LoadedBundle) -> LoadedBundle:
    """The bundle with the output, channels and passes of the settings, all of which are checked against it."""
    loaded = loaded.with_output(settings.output)
    if loaded.segments and settings.minimum:
        raise ValueError(f"{loaded.name} segments, expected a classifier for --minimum.")
    if settings.crosscheck and isinstance(loaded.criterion, BinaryCriterion):
        raise ValueError(
            f"{loaded.name} has sigmoid outputs, expected classes of which one is correct for --crosscheck: the "
            "independent tools attack no others."
        )
    if settings.channels is not None:
        loaded = replace(loaded, channels=settings.channels)
    if settings.crosscheck and loaded.channels is not None:
        raise ValueError(
            f"Got channels {loaded.channels}, expected all of them for --crosscheck: its attacks take all."
        )
    if settings.eot > 1:
        loaded = replace(loaded, inferer=AveragedInferer(gradient_inferer(loaded.inferer), settings.eot))
    if settings.torchio:
        check_torchio([listed.perturbation for listed in settings.perturbations])
    names = settings.attack_names(loaded.segments)
    for perturbation in (None, *(listed.perturbation for listed in settings.perturbations)):
        loaded.attacks(names, settings.norm, perturbation)
    if settings.transfer_from is not None:
        check_weights(loaded.network, load_weights(settings.transfer_from), settings.transfer_from)
    return loaded


def _checked_data(settings: EvaluationSettings, loaded: LoadedBundle) -> tuple[str, int]:
    """The digest of the data, all of which have the channels and the groups of the settings; how many samples."""
    seen: dict[str, None] = {}
    evaluated: list[str] = []

    network_check = NetworkCheck(loaded)

    def check(prepared: Sequence[Any], sample_ids: Sequence[str]) -> None:
        image, label = prepared[:2]
        note_ids(sample_ids, seen)
        channels = attacked_channels(check_channels(loaded.channels), image)
        spacing = image_spacing(image) if settings.perturbations else None
        for listed in settings.perturbations:
            listed.perturbation.fit(plain(image)[:1, channels], None if spacing is None else spacing[:1])
        network_check(prepared)
        evaluated.extend(_labelled(loaded, label, sample_ids))

    data = data_digest(loaded, check)
    check_any(seen)
    if settings.group_by is not None and settings.column is not None:
        check_groups(settings.group_by, settings.column, evaluated)
    return data, len(seen)


def _labelled(loaded: LoadedBundle, label: Any, sample_ids: Sequence[str]) -> list[str]:
    """The samples whose label the criterion does not ignore."""
    ignored = None if loaded.criterion is None else loaded.criterion.ignore_index
    if ignored is None or not isinstance(label, torch.Tensor):
        return list(sample_ids)
    counts = has_label(counted_entries(plain(label), ignored)).tolist()
    return [sample_id for sample_id, known in zip(sample_ids, counts, strict=True) if known]


def measure(
    settings: EvaluationSettings, loaded: LoadedBundle, folder: Path, units: Units | None = None
) -> ClassificationResults | SegmentationResults:
    """Attack every sample at every ε; write tables, curve and pictures, and check and verify what was asked for.

    Args:
        settings: of the evaluation.
        loaded: what is evaluated.
        folder: to write to; an interrupted evaluation in it is resumed.
        units: what ε is worth in the data's own intensity; needed where the levels are in these.

    Returns:
        The results, which the caller writes: results.json ends an evaluation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task, outcome = _attacked(settings, loaded, folder, units)
    return _written(task, outcome, measure_perturbations(task, folder), folder, units)


def _attacked(
    settings: EvaluationSettings,
    loaded: LoadedBundle,
    folder: Path,
    units: Units | None,
    samples: int | None = None,
) -> tuple[Task[Any, Any, Any], Any]:
    """The task, and the outcome of attacking every sample at every ε."""
    task: Task[Any, Any, Any] = (SegmentationTask if loaded.segments else ClassificationTask)(loaded, settings)
    levels = list(settings.levels)
    if settings.units == "raw" and units is not None:
        levels = [level / units.per_unit for level in levels]
    team = workers()
    records = RecordFile(folder / RECORDS, task.evaluator.record_type, team.rank)
    share = Share(records)
    done = share.begin()
    if team.leader:
        read_records(folder)
    with team.checked():
        return task, task.evaluator.run(
            loaded.data_loader,
            levels,
            progress=team.leader,
            done=done,
            on_records=records.append,
            share=share,
            samples=samples,
            later=stages_from(task, 0),
        )


def _written(
    task: Task[Any, Any, Any],
    outcome: Any,
    perturbed: Sequence[MeasuredPerturbation],
    folder: Path,
    units: Units | None,
) -> ClassificationResults | SegmentationResults:
    """The results, but for results.json; writes tables, curve and pictures, and checks and verifies as asked for."""
    settings = task.settings
    results = task.results(outcome, _common(task, outcome, units))
    (folder / "curve.png").unlink(missing_ok=True)
    save_figure(task.curve(results), folder / "curve.png")
    results = results.model_copy(update=_draw_cases(folder, task, outcome, results))
    results = results.model_copy(update={"perturbations": perturbation_results(task, perturbed, folder)})
    for name, rows in {**task.tables(results), **perturbation_tables(results.perturbations)}.items():
        with whole_file(folder / name) as file, open(file, "w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows(rows)
    if settings.checks:
        results = results.model_copy(update={"checks": check_gradient_masking(folder, task, results)})
    if settings.crosscheck:
        results = results.model_copy(update={"crosscheck": verify(folder, task, results)})
    return results


def _common(task: Task[Any, Any, Any], outcome: Any, units: Units | None) -> dict[str, Any]:
    """The fields of the results that every task has."""
    settings, records = task.settings, outcome.records
    given = [record.patient for record in records]
    patients = None if None in given else given
    scores = outcome.scores()
    groups = None
    column = settings.column
    if settings.group_by is not None and column is not None:
        ids, strongest = [record.sample_id for record in records], list(scores.values())[-1]
        groups = subgroups(settings.group_by, column, ids, strongest, outcome.levels, patients)
        records = [record.model_copy(update={"group": column[record.sample_id]}) for record in records]
    return {
        "format": FORMAT,
        "model": task.loaded.model,
        "data": task.loaded.data(len(records), None if patients is None else len(set(patients))),
        "command": (command_line if settings.from_command_line else python_call)(settings.arguments()),
        "settings": settings.arguments(),
        "machine": machine(task.loaded.device),
        "date": today(),
        "commit": commit(),
        "versions": versions(),
        "norm": settings.norm,
        "levels": outcome.levels,
        "units": units,
        "image_values": image_values(outcome.values, outcome.dimensions),
        "bounds": None if task.loaded.bounds is None else tuple(map(float, task.loaded.bounds)),
        "attacks": [
            AttackCurve(
                name=name,
                values=[math.fsum(column) / len(column) for column in zip(*rows, strict=True)],
                intervals=score_intervals(rows, patients),
            )
            for name, rows in scores.items()
        ],
        "groups": groups,
        "checks": None,
        "crosscheck": None,
        "cases": [],
        "samples": records,
    }


def _draw_cases(folder: Path, task: Task[Any, Any, Any], outcome: Any, results: Any) -> dict[str, Any]:
    """The samples that are broken most easily, attacked once more for their pictures, and the scale of these."""
    worst, levels = task.drawn(outcome)
    if not worst or len(outcome.levels) < 2:
        return {"cases": []}
    examples: Mapping[str, Any] = task.evaluator.examples(task.loaded.data_loader, levels)
    remove_pictures(folder, task.overview)
    drawn = [examples[sample_id] for sample_id in worst if sample_id in examples]
    limit = max((float((example.noisy - example.clean).abs().max()) for example in drawn), default=0.0) or 1.0
    cases = []
    for k, example in enumerate(drawn):
        picture = f"cases/{k:02d}.png"
        summary, figure = task.picture(results, example, limit)
        save_figure(figure, folder / picture)
        cases.append(Case(sample_id=example.sample_id, epsilon=example.eps, summary=summary, picture=picture))
    task.draw_overview(folder, results, examples)
    return {"cases": cases, "noise_scale": limit if cases else None}
