from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from monai_ima.attacks import attack_from_name
from monai_ima.criteria import DiceCriterion, SegmentationCriterion
from monai_ima.engines import ScanRecord, SegmentationEvaluator, SegmentationResult
from monai_ima.visualize import robustness_curves, save_figure, volume_example

from .load import OpenBundle
from .provenance import data_name, provenance

__all__ = ["check_folder", "evaluate_segmentation", "read_records"]

SETTINGS, RECORDS, RESULTS = "settings.json", "records.jsonl", "results.json"
STRONGEST_ATTACK = "pgd100x2+pgd100x2-dice+pgd100x2-ce"
METRICS = {"dice": "Dice", "surface_dice": "surface Dice", "hd95": "HD95 (mm)"}


def check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but a broken-off evaluation with the same settings.

    Raises:
        FileExistsError: when it does.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    file = folder / SETTINGS
    if folder.is_dir() and file.is_file() and not (folder / RESULTS).exists():
        if json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(settings)):
            return
        raise FileExistsError(f"Folder {folder} holds a broken-off evaluation with other settings: give another --out.")
    raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")


def read_records(file: Path) -> list[ScanRecord]:
    """The records of a broken-off evaluation; a last line that was cut off is left out."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [ScanRecord.from_dict(json.loads(line)) for line in whole.splitlines()]


def evaluate_segmentation(folder: Path, opened: OpenBundle, settings: dict[str, Any]) -> SegmentationResult:
    """Attack every scan at every level; write results.json, results.csv, curve.png and a picture of a scan.

    Args:
        folder: to write to; a broken-off evaluation in it goes on.
        opened: the bundle, its criterion one for segmentations.
        settings: of the evaluation, with ``attack`` (None means the strongest), ``norm``, ``levels``, ``seed`` and
            ``tolerance``.
    """
    asked = opened.criterion
    if not isinstance(asked, SegmentationCriterion):
        raise ValueError(f"Got a bundle with criterion {asked}, expected one for segmentations.")
    criterion = DiceCriterion("lowest", asked.include_background, asked.sigmoid)
    attack = settings["attack"] or STRONGEST_ATTACK
    evaluator = SegmentationEvaluator(
        opened.network,
        attack_from_name(attack, settings["norm"], opened.bounds, criterion),
        opened.prepare_batch,
        opened.inferer,
        opened.device,
        settings["seed"],
        settings["tolerance"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    done = read_records(folder / RECORDS)
    with open(folder / RECORDS, "a", encoding="utf-8") as lines:

        def keep(record: ScanRecord) -> None:
            lines.write(json.dumps(record.as_dict()) + "\n")
            lines.flush()

        result = evaluator.run(opened.data_loader, settings["levels"], done, keep)
    _write(folder, result, opened, {**settings, "attack": attack}, criterion.include_background)
    print(_table(result, settings["tolerance"]))
    return result


def _write(
    folder: Path, result: SegmentationResult, opened: OpenBundle, settings: dict[str, Any], background: bool
) -> None:
    names = _class_names(result, opened, background)
    title = f"{len(result.records)} scans ({data_name(opened)}), {settings['attack']}"
    for picture in (folder / "curve.png", folder / "scan.png"):
        picture.unlink(missing_ok=True)
    lines = {"mean": result.mean(), **{name: result.mean(label=k) for k, name in enumerate(names)}}
    save_figure(robustness_curves(result.levels, lines, settings["norm"], title, "Dice"), folder / "curve.png")
    for example in result.examples:
        clean, noisy = (scores.mean("dice") for scores in (example.record.scores[0], example.record.scores[-1]))
        figure = volume_example(
            example.clean,
            example.noisy,
            example.label,
            example.clean_prediction,
            example.noisy_prediction,
            example.eps,
            settings["norm"],
            f"{example.record.sample_id}: Dice {clean:.3f} without noise, {noisy:.3f} with it",
        )
        save_figure(figure, folder / "scan.png")
    with open(folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{metric} {name}" for metric in METRICS for name in ["mean", *names]]
        writer.writerow(["norm", "epsilon", "scans", *columns, "scans with an undefined hd95"])
        undefined = result.undefined()
        for k, level in enumerate(result.levels):
            values = [result.mean(m, label)[k] for m in METRICS for label in [None, *range(len(names))]]
            row = ["" if math.isnan(value) else value for value in values]
            writer.writerow([settings["norm"], level, len(result.records), *row, undefined[k]])
    content = {
        **provenance(opened, settings),
        "levels": result.levels,
        "classes": names,
        **{metric: _or_none(result.mean(metric)) for metric in METRICS},
        **{
            f"{metric}_by_class": {name: _or_none(result.mean(metric, k)) for k, name in enumerate(names)}
            for metric in METRICS
        },
        "hd95_undefined": result.undefined(),
        "samples": [record.as_dict() for record in sorted(result.records, key=lambda record: record.sample_id)],
    }
    (folder / RESULTS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _class_names(result: SegmentationResult, opened: OpenBundle, background: bool) -> list[str]:
    count = len(result.records[0].scores[0].dice)
    names = opened.classes if background else opened.classes[1:]
    return names if len(names) == count else [f"class {k + (not background)}" for k in range(count)]


def _table(result: SegmentationResult, tolerance: float) -> str:
    columns = [result.mean(metric) for metric in METRICS]
    lines = [
        f"{'epsilon':>8}{'Dice':>8}{f'surface Dice ({tolerance:g} mm)':>24}{'HD95 (mm)':>12}{'HD95 undefined':>17}"
    ]
    for k, level in enumerate(result.levels):
        dice, surface, distance = (values[k] for values in columns)
        lines.append(f"{level:>8g}{dice:>8.3f}{surface:>24.3f}{distance:>12.2f}{result.undefined()[k]:>17d}")
    return "\n".join(lines)


def _or_none(values: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]
