"""A segmentation network under attack: records, results, pictures."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from typing import Any

from monai_ima.results.run_folder import CASES, RECORDS, append_lines, read_lines, remove_pictures
from monai_ima.visualize import robustness_curves, save_figure, volume_example

from . import ScanRecord, SegmentationEvaluator, SegmentationResult
from .content import shared_content
from .loaded import LoadedBundle

__all__ = ["STRONGEST_ATTACK", "evaluate_segmentation", "scan_table"]

STRONGEST_ATTACK = "pgd100x2+pgd100x2-dice+pgd100x2-ce"
METRICS = {"dice": "Dice", "surface_dice": "surface Dice", "hd95": "HD95 (mm)"}
CASE_DPI = 90


def evaluate_segmentation(
    folder: Path, loaded: LoadedBundle, settings: dict[str, Any], groups: dict[str, str] | None = None
) -> tuple[SegmentationResult, dict[str, Any]]:
    """Attack every scan at every level; write results.csv, curve.png and pictures of the worst scans.

    Args:
        folder: to write to; a broken-off evaluation in it goes on.
        loaded: the bundle, its criterion one for segmentations.
        settings: of the evaluation.
        groups: the group of every sample id, of the column ``group_by``.

    Returns:
        What was found, and the content for results.json, which the caller writes.
    """
    evaluator = SegmentationEvaluator(
        loaded.network,
        loaded.attacks(settings["attack"], settings["norm"]),
        loaded.prepare_batch,
        loaded.inferer,
        loaded.device,
        settings["seed"],
        settings["tolerance"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    done = [ScanRecord.from_dict(line) for line in read_lines(folder / RECORDS)]
    append = append_lines(folder / RECORDS)
    result = evaluator.run(loaded.data_loader, settings["levels"], done, lambda record: append([record.as_dict()]))
    result.records.sort(key=lambda record: record.sample_id)
    names = _class_names(result, loaded, evaluator.criterion.include_background)
    content = _content(result, loaded, settings, names, groups)
    _draw(folder, result, names, content)
    content["cases"] = _cases(folder, evaluator, result, loaded, settings["norm"])
    _write_table(folder, result, names, settings["norm"])
    return result, content


def scan_table(result: SegmentationResult, tolerance: float) -> str:
    """The mean metrics at every level, for the terminal."""
    columns = [result.mean(metric) for metric in METRICS]
    lines = [
        f"{'epsilon':>8}{'Dice':>8}{f'surface Dice ({tolerance:g} mm)':>24}{'HD95 (mm)':>12}{'HD95 undefined':>17}"
    ]
    for k, level in enumerate(result.levels):
        dice, surface, distance = (values[k] for values in columns)
        lines.append(f"{level:>8g}{dice:>8.3f}{surface:>24.3f}{distance:>12.2f}{result.undefined()[k]:>17d}")
    return "\n".join(lines)


def _content(
    result: SegmentationResult,
    loaded: LoadedBundle,
    settings: dict[str, Any],
    names: list[str],
    groups: dict[str, str] | None,
) -> dict[str, Any]:
    scores = {name: [record.after[name] for record in result.records] for name in result.attacks}
    return {
        **shared_content(loaded, settings, result.levels, result.records, scores, groups),
        "task": "segmentation",
        "metric": "dice",
        "classes": names,
        **{metric: result.mean(metric) for metric in METRICS},
        **{f"{m}_by_class": {name: result.mean(m, k) for k, name in enumerate(names)} for m in METRICS},
        "hd95_undefined": result.undefined(),
    }


def _draw(folder: Path, result: SegmentationResult, names: list[str], content: dict[str, Any]) -> None:
    title = f"{len(result.records)} scans ({content['data']['name']}), {'+'.join(result.attacks)}"
    lines = {"mean": result.mean(), **{name: result.mean(label=k) for k, name in enumerate(names)}}
    (folder / "curve.png").unlink(missing_ok=True)
    save_figure(robustness_curves(result.levels, lines, content["norm"], title, "Dice"), folder / "curve.png")


def _cases(
    folder: Path, evaluator: SegmentationEvaluator, result: SegmentationResult, loaded: LoadedBundle, norm: str
) -> list[dict[str, Any]]:
    """The scans of the lowest Dice over all levels, attacked once more at the highest one for their pictures."""
    if len(result.levels) < 2:
        return []
    worst = sorted(result.records, key=lambda r: math.fsum(scores.mean("dice") for scores in r.scores))[:CASES]
    order = [record.sample_id for record in worst]
    found = {e.sample_id: e for e in evaluator.examples(loaded.data_loader, set(order), result.levels[-1])}
    remove_pictures(folder, "scan.png")
    cases = []
    for k, sample_id in enumerate(order):
        example = found[sample_id]
        says = f"Dice {example.clean_dice:.3f} without noise, {example.noisy_dice:.3f} with it"
        figure = volume_example(
            example.clean,
            example.noisy,
            example.label,
            example.clean_prediction,
            example.noisy_prediction,
            example.eps,
            norm,
            f"{sample_id}: {says}",
        )
        figure.set_dpi(CASE_DPI)
        picture = f"cases/{k:02d}.png"
        save_figure(figure, folder / picture)
        cases.append({"sample_id": sample_id, "epsilon": example.eps, "says": says, "picture": picture})
    shutil.copyfile(folder / "cases" / "00.png", folder / "scan.png")
    return cases


def _write_table(folder: Path, result: SegmentationResult, names: list[str], norm: str) -> None:
    with open(folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{metric} {name}" for metric in METRICS for name in ["mean", *names]]
        writer.writerow(["norm", "epsilon", "scans", *columns, "scans with an undefined hd95"])
        undefined = result.undefined()
        for k, level in enumerate(result.levels):
            values = [result.mean(m, label)[k] for m in METRICS for label in [None, *range(len(names))]]
            row = ["" if math.isnan(value) else value for value in values]
            writer.writerow([norm, level, len(result.records), *row, undefined[k]])


def _class_names(result: SegmentationResult, loaded: LoadedBundle, background: bool) -> list[str]:
    count = len(result.records[0].scores[0].dice)
    names = loaded.classes if background else loaded.classes[1:]
    return names if len(names) == count else [f"class {k + (not background)}" for k in range(count)]
