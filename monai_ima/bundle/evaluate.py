from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai_ima.attacks import attack_from_name
from monai_ima.criteria import DiceCriterion, SegmentationCriterion
from monai_ima.engines import RobustnessEvaluator, RobustnessResult
from monai_ima.engines.robustness import check_levels
from monai_ima.visualize import attack_examples, robustness_curves, save_figure

from .evaluate_segmentation import check_folder, evaluate_segmentation
from .load import OpenBundle, open_bundle
from .provenance import data_name, provenance

__all__ = ["evaluate", "write_results"]

CLASSIFICATION_ATTACK = "pgd100x2"


def evaluate(
    bundle: str,
    levels: tuple[float, ...] | float,
    norm: str = "linf",
    attack: str | None = None,
    out: str | None = None,
    checkpoint: str | None = None,
    config: str = "evaluate.json",
    seed: int = 0,
    tolerance: float = 1.0,
    **overrides: Any,
) -> None:
    """Measure how robust a trained bundle is: accuracy, or Dice, under attack at rising levels of noise.

    Runs the bundle's evaluation config (and so its expressions). Writes results.json (every number, with each
    sample's), results.csv (one row a level), curve.png and pictures: for a classifier accuracy by class and clean
    image, noise x 10 and noisy image; for a segmentation Dice by class, surface Dice and HD95, and three planes of a
    scan with the contours of label and predictions. Nothing is written over. A broken-off evaluation of a segmentation
    goes on when the same command is given again.

    Args:
        bundle: folder of the bundle.
        levels: radii of the noise, such as 0,0.02,0.05, in the units that the network sees.
        norm: l2 or linf.
        attack: pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128
            (gradient-free: 100 steps of 128 directions) or noise100 (draws of white noise); for segmentations also
            pgd100x2-dice and pgd100x2-ce (one loss alone); several joined by + (the worst counts). Default is
            pgd100x2, for segmentations on both losses, Dice and cross-entropy.
        out: folder to write to; default BUNDLE/eval/robustness.
        checkpoint: weights; default is the config's ckpt_path, else BUNDLE/models/model.pt.
        config: file name(s) in BUNDLE/configs, several separated by commas.
        seed: of the random starts.
        tolerance: of surface Dice, in mm.
        overrides: values of config ids, such as --dataset_dir DIR.
    """
    radii = check_levels(levels if isinstance(levels, (tuple, list)) else (levels,))
    attack_from_name(attack or CLASSIFICATION_ATTACK, norm, criterion=DiceCriterion())
    folder = Path(out) if out is not None else Path(bundle) / "eval" / "robustness"
    settings = {
        "bundle": str(bundle),
        "config": config,
        "checkpoint": checkpoint,
        "levels": radii,
        "norm": norm,
        "attack": attack,
        "seed": seed,
        "tolerance": tolerance,
        **overrides,
    }
    check_folder(folder, settings)
    opened = open_bundle(bundle, config, checkpoint, **overrides)
    if isinstance(opened.criterion, SegmentationCriterion):
        evaluate_segmentation(folder, opened, settings)
    else:
        settings["attack"] = attack or CLASSIFICATION_ATTACK
        evaluator = RobustnessEvaluator(
            opened.network,
            attack_from_name(settings["attack"], norm, opened.bounds, opened.criterion),
            opened.prepare_batch,
            opened.inferer,
            opened.device,
            seed,
        )
        result = evaluator.run(opened.data_loader, radii)
        write_results(folder, result, opened, settings)
        print(_table(result, opened))
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def write_results(folder: Path, result: RobustnessResult, opened: OpenBundle, settings: dict[str, Any]) -> None:
    """Write results.json, results.csv, curve.png and examples.png."""
    classes = _classes(result, opened)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{settings['attack']}, {len(result.records)} samples ({data_name(opened)})"
    overall, by_class = result.accuracy(), {name: result.accuracy(k) for k, name in enumerate(classes)}
    content = {
        **provenance(opened, settings),
        "levels": result.levels,
        "accuracy": overall,
        "accuracy_by_class": by_class,
        "samples": [asdict(record) for record in result.records],
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    with open(folder / "results.csv", "x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["norm", "epsilon", "right", "samples", "accuracy", *classes])
        for k, level in enumerate(result.levels):
            row = [settings["norm"], level, *result.right_at(level), overall[k]]
            writer.writerow(row + [values[k] for values in by_class.values()])
    lines = {"all classes": overall, **by_class}
    save_figure(robustness_curves(result.levels, lines, settings["norm"], title), folder / "curve.png")
    shown = [example for _, example in sorted(result.examples.items()) if example.clean.ndim in (2, 3)]
    if shown:
        save_figure(attack_examples(shown, classes, title), folder / "examples.png")


def _classes(result: RobustnessResult, opened: OpenBundle) -> list[str]:
    count = 1 + max(max(record.label, record.predicted, record.noisy_predicted) for record in result.records)
    return opened.classes if len(opened.classes) >= count else [str(k) for k in range(count)]


def _table(result: RobustnessResult, opened: OpenBundle) -> str:
    classes = _classes(result, opened)
    lines = [f"{'epsilon':>8}{'accuracy':>10}" + "".join(f"{name:>10}" for name in classes)]
    columns = [result.accuracy(), *(result.accuracy(k) for k in range(len(classes)))]
    for k, level in enumerate(result.levels):
        lines.append(f"{level:>8g}" + "".join(f"{values[k]:>10.3f}" for values in columns))
    return "\n".join(lines)
