"""From a loaded network to results: the steps that are the same whatever the task."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monai_ima.criteria import BinaryCriterion
from monai_ima.inferers import AveragedInferer, gradient_inferer
from monai_ima.results.parts import AttackCurve, Case, Units
from monai_ima.results.pixel_size import image_values
from monai_ima.results.provenance import command_line, commit, machine, python_call, today, versions
from monai_ima.results.run_folder import RecordFile, one_writer, remove_pictures, start_folder
from monai_ima.results.schema import FORMAT, ClassificationResults, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.results.statistics import score_intervals
from monai_ima.results.subgroups import subgroups
from monai_ima.utils.files import whole_file
from monai_ima.visualize import save_figure

from .classification_task import ClassificationTask
from .fingerprint import data_digest
from .loaded import LoadedBundle
from .segmentation_task import SegmentationTask
from .task import Task
from .verification import check_gradient_masking, verify

__all__ = ["evaluate_loaded", "measure"]

RECORDS = "records.jsonl"


def evaluate_loaded(
    settings: EvaluationSettings, loaded: LoadedBundle, units: Units | None = None
) -> ClassificationResults | SegmentationResults:
    """Evaluate, or resume an interrupted evaluation; write everything to ``settings.folder``.

    Args:
        settings: of the evaluation.
        loaded: what is evaluated.
        units: what ε is worth in the data's own intensity; needed where the levels are in these.

    Raises:
        FileExistsError: if the folder holds anything but an interrupted evaluation with the same settings and weights.
        ValueError: if the settings do not go with the network or the data; names the sample.
    """
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
    with one_writer(settings.folder):
        data = data_digest(loaded)
        note = {"weights_sha256": loaded.weights_sha256, "data_sha256": data}
        start_folder(settings.folder, {**settings.arguments(), **note})
        with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
            torch.manual_seed(settings.seed)
            results = measure(settings, loaded, settings.folder, units)
        results = results.model_copy(update={"data": results.data.model_copy(update={"sha256": data})})
        results.write(settings.folder)
    return results


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
    task: Task[Any, Any, Any] = (SegmentationTask if loaded.segments else ClassificationTask)(loaded, settings)
    levels = list(settings.levels)
    if settings.units == "raw" and units is not None:
        levels = [level / units.per_unit for level in levels]
    records = RecordFile(folder / RECORDS, task.evaluator.record_type)
    outcome = task.evaluator.run(loaded.data_loader, levels, done=records.read(), on_records=records.append)
    results = task.results(outcome, _common(task, outcome, units))
    (folder / "curve.png").unlink(missing_ok=True)
    save_figure(task.curve(results), folder / "curve.png")
    results = results.model_copy(update={"cases": _draw_cases(folder, task, outcome, results)})
    for name, rows in task.tables(results).items():
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
        "command": (python_call if settings.bundle is None else command_line)(settings.arguments()),
        "settings": settings.arguments(),
        "machine": machine(task.loaded.device),
        "date": today(),
        "commit": commit(),
        "versions": versions(),
        "norm": settings.norm,
        "levels": outcome.levels,
        "units": units,
        "image_values": image_values(outcome.values),
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


def _draw_cases(folder: Path, task: Task[Any, Any, Any], outcome: Any, results: Any) -> list[Case]:
    """The samples that are broken most easily, attacked once more for their pictures."""
    worst, levels = task.drawn(outcome)
    if not worst or len(outcome.levels) < 2:
        return []
    examples: Mapping[str, Any] = task.evaluator.examples(task.loaded.data_loader, levels)
    remove_pictures(folder, task.overview)
    cases = []
    for k, sample_id in enumerate(sample_id for sample_id in worst if sample_id in examples):
        example, picture = examples[sample_id], f"cases/{k:02d}.png"
        summary, figure = task.picture(results, example)
        save_figure(figure, folder / picture)
        cases.append(Case(sample_id=sample_id, epsilon=example.eps, summary=summary, picture=picture))
    task.draw_overview(folder, results, examples)
    return cases
