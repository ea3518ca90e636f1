"""A classifier under attack: records, results, pictures."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from monai_ima.attacks import MinimumNorm, attack_mode
from monai_ima.results.provenance import data_name
from monai_ima.results.run_folder import CASES, RECORDS, append_lines, read_lines, remove_pictures
from monai_ima.utils.tensors import first_output
from monai_ima.visualize import Example, attack_examples, case_picture, robustness_curves, save_figure

from . import RobustnessEvaluator, RobustnessResult, SampleRecord
from .content import shared_content
from .loaded import LoadedBundle

__all__ = ["evaluate_classification", "sample_table"]

NOISE_DRAWS = 20
MAX_CLASSES = 20
"""Curves and the terminal's table show classes up to this number, examples.png one sample each of the first."""


def evaluate_classification(
    folder: Path,
    loaded: LoadedBundle,
    settings: dict[str, Any],
    groups: dict[str, str] | None = None,
) -> tuple[RobustnessResult, dict[str, Any]]:
    """Attack every sample at every level; write results.csv, curve.png and pictures.

    Args:
        folder: to write to; a broken-off evaluation in it goes on.
        loaded: the bundle.
        settings: of the evaluation.
        groups: the group of every sample id, of the column ``group_by``.

    Returns:
        What was found, and the content for results.json, which the caller writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    norm = settings["norm"]
    evaluator = RobustnessEvaluator(
        loaded.network,
        loaded.attacks(settings["attack"], norm),
        loaded.prepare_batch,
        loaded.inferer,
        loaded.device,
        settings["seed"],
        NOISE_DRAWS,
        MinimumNorm(norm, bounds=loaded.bounds, criterion=loaded.criterion) if settings["minimum"] else None,
    )
    done = [SampleRecord.from_dict(line) for line in read_lines(folder / RECORDS)]
    append = append_lines(folder / RECORDS)
    result = evaluator.run(
        loaded.data_loader,
        settings["levels"],
        done=done,
        on_records=lambda records: append([record.as_dict() for record in records]),
    )
    content = _content(result, loaded, settings, groups)
    _draw(folder, result, content, settings)
    content["cases"] = _cases(folder, evaluator, result, loaded, content["classes"])
    _write_tables(folder, result, content, settings)
    return result, content


def sample_table(result: RobustnessResult, classes: Sequence[str]) -> str:
    """The accuracy at every level, of all samples and by class where there are few, for the terminal."""
    classes = classes if len(classes) <= MAX_CLASSES else []
    lines = [f"{'epsilon':>8}{'accuracy':>10}" + "".join(f"{name:>10}" for name in classes)]
    columns = [result.accuracy(), *(result.accuracy(k) for k in range(len(classes)))]
    for k, level in enumerate(result.levels):
        lines.append(f"{level:>8g}" + "".join(f"{values[k]:>10.3f}" for values in columns))
    return "\n".join(lines)


def _content(
    result: RobustnessResult, loaded: LoadedBundle, settings: dict[str, Any], groups: dict[str, str] | None
) -> dict[str, Any]:
    classes = _classes(result, loaded)
    scores = {name: result.right(name) for name in result.attacks}
    return {
        **shared_content(loaded, settings, result.levels, result.records, scores, groups),
        "task": "classification",
        "metric": "accuracy",
        "classes": classes,
        "accuracy": result.accuracy(),
        "accuracy_by_class": {name: result.accuracy(k) for k, name in enumerate(classes)},
        "noise": {"draws": result.noise_draws, "failure_rate": result.noise_failure_rate()},
        "minimum": _minimum(result) if settings["minimum"] else None,
    }


def _minimum(result: RobustnessResult) -> dict[str, Any]:
    right = [record for record in result.records if record.broken != 0]
    found = sorted(record.distance for record in right if record.distance is not None)
    known = found + [math.inf] * (len(right) - len(found))
    median = known[(len(known) - 1) // 2] if known else math.inf
    return {
        "up_to": result.levels[-1],
        "found": len(found),
        "of": len(right),
        "median": None if math.isinf(median) else median,
    }


def _draw(folder: Path, result: RobustnessResult, content: dict[str, Any], settings: dict[str, Any]) -> None:
    title = f"{settings['attack']}, {len(result.records)} samples ({content['data']['name']})"
    curves = {"all classes": content["accuracy"]}
    if len(content["classes"]) <= MAX_CLASSES:
        curves |= content["accuracy_by_class"]
    figure = robustness_curves(result.levels, curves, settings["norm"], title)
    (folder / "curve.png").unlink(missing_ok=True)
    save_figure(figure, folder / "curve.png")


def _write_tables(folder: Path, result: RobustnessResult, content: dict[str, Any], settings: dict[str, Any]) -> None:
    by_class = content["accuracy_by_class"]
    with open(folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["norm", "epsilon", "right", "samples", "accuracy", "low", "high", *by_class])
        ends = content["attacks"][-1]["intervals"]
        for k, level in enumerate(result.levels):
            row = [settings["norm"], level, *result.right_at(level), content["accuracy"][k], *ends[k]]
            writer.writerow(row + ["" if math.isnan(values[k]) else values[k] for values in by_class.values()])
    if settings["minimum"]:
        with open(folder / "minimum.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample_id", "label", "predicted", "distance"])
            for record in result.records:
                distance = "" if record.distance is None else record.distance
                writer.writerow([record.sample_id, record.label, record.predicted, distance])


def _cases(
    folder: Path, evaluator: RobustnessEvaluator, result: RobustnessResult, loaded: LoadedBundle, classes: list[str]
) -> list[dict[str, Any]]:
    """The samples that are broken most easily, and one for each class, attacked once more for their pictures."""
    right = [record for record in result.records if record.broken != 0]
    if not right or len(result.levels) < 2:
        return []
    worst = sorted(right, key=lambda r: (_ease(r), r.sample_id))[:CASES]
    by_class: dict[int, SampleRecord] = {}
    for record in right:
        kept = by_class.get(record.label)
        if kept is None or (kept.broken is None and record.broken is not None):
            by_class[record.label] = record
    wanted = {record.sample_id: record for record in [*worst, *by_class.values()]}
    found = _attacked_again(evaluator, result, loaded, wanted)
    remove_pictures(folder, "examples.png")
    drawn = [found[record.sample_id] for _, record in sorted(by_class.items()) if record.sample_id in found]
    shown = drawn[:MAX_CLASSES]
    if shown:
        title = f"{'+'.join(result.attacks)} ({data_name(loaded)})"
        save_figure(attack_examples(shown, classes, title), folder / "examples.png")
    cases = []
    for k, record in enumerate(record for record in worst if record.sample_id in found):
        example = found[record.sample_id]
        picture = f"cases/{k:02d}.png"
        save_figure(case_picture(example.clean, example.noisy), folder / picture)
        names = [classes[c] for c in (example.label, example.predicted, example.noisy_predicted)]
        cases.append(
            {
                "sample_id": record.sample_id,
                "epsilon": example.eps,
                "says": f"label {names[0]}, predicted {names[1]}, with noise {names[2]}",
                "picture": picture,
            }
        )
    return cases


def _ease(record: SampleRecord) -> tuple[float, float]:
    level, distance = record.broken, record.distance
    return math.inf if distance is None else distance, math.inf if level is None else level


@torch.no_grad()
def _attacked_again(
    evaluator: RobustnessEvaluator, result: RobustnessResult, loaded: LoadedBundle, wanted: dict[str, SampleRecord]
) -> dict[str, Example]:
    found = {}
    with attack_mode(loaded.network):
        for batchdata in tqdm(loaded.data_loader, desc="pictures", leave=False):
            batch = evaluator.prepare(batchdata)
            for row, sample_id in enumerate(batch.sample_ids):
                if sample_id not in wanted or batch.image.ndim > 4:
                    continue
                record = wanted[sample_id]
                own = batch.select([row])
                eps = result.levels[-1] if record.broken is None else record.broken
                noisy = evaluator.noisy(own, eps)
                predicted, changed = (int(first_output(own.predict(x)).argmax(dim=1)) for x in (own.image, noisy))
                clean = own.image[0].cpu()
                found[sample_id] = Example(sample_id, record.label, predicted, changed, eps, clean, noisy[0].cpu())
    return found


def _classes(result: RobustnessResult, loaded: LoadedBundle) -> list[str]:
    count = 1 + max(max(record.label, record.predicted, record.noisy_predicted) for record in result.records)
    return loaded.classes if len(loaded.classes) >= count else [str(k) for k in range(count)]
