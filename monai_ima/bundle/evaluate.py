from __future__ import annotations

import csv
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from monai_ima.attacks import attack_from_name
from monai_ima.engines import RobustnessEvaluator, RobustnessResult
from monai_ima.engines.robustness import check_levels
from monai_ima.visualize import attack_examples, robustness_curves, save_figure

from .load import OpenBundle, open_bundle

__all__ = ["evaluate", "machine"]


def evaluate(
    bundle: str,
    levels: tuple[float, ...] | float,
    norm: str = "linf",
    attack: str = "pgd100x2",
    out: str | None = None,
    checkpoint: str | None = None,
    config: str = "evaluate.json",
    seed: int = 0,
    **overrides: Any,
) -> None:
    """Measure how robust a trained bundle is: accuracy under attack at rising levels of noise.

    Runs the bundle's evaluation config (and so its expressions). Writes results.json (every number, with each sample's
    first broken level), results.csv (accuracy and accuracy of each class at every level), curve.png and examples.png
    (clean image, noise x 10, noisy image with predicted classes). Nothing is written over.

    Args:
        bundle: folder of the bundle.
        levels: radii of the noise, such as 0,0.02,0.05, in the units that the network sees.
        norm: l2 or linf.
        attack: pgd100x2 (100 steps, 2 restarts), fgsm, ifgsm10 or noise100 (draws of white noise).
        out: folder to write to; default BUNDLE/eval/robustness.
        checkpoint: weights; default is the config's ckpt_path, else BUNDLE/models/model.pt.
        config: file name(s) in BUNDLE/configs, several separated by commas.
        seed: of the random starts.
        overrides: values of config ids, such as --dataset_dir DIR.
    """
    radii = check_levels(levels if isinstance(levels, (tuple, list)) else (levels,))
    attack_from_name(attack, norm)
    folder = Path(out) if out is not None else Path(bundle) / "eval" / "robustness"
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")
    opened = open_bundle(bundle, config, checkpoint, **overrides)
    evaluator = RobustnessEvaluator(
        opened.network,
        attack_from_name(attack, norm, opened.bounds),
        opened.prepare_batch,
        opened.inferer,
        opened.device,
        seed,
    )
    result = evaluator.run(opened.data_loader, radii)
    settings = {"bundle": str(bundle), "config": config, "norm": norm, "attack": attack, "seed": seed, **overrides}
    write_results(folder, result, opened, settings)
    print(_table(result, opened))
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def write_results(folder: Path, result: RobustnessResult, opened: OpenBundle, settings: dict[str, Any]) -> None:
    """Write results.json, results.csv, curve.png and examples.png."""
    classes = _classes(result, opened)
    folder.mkdir(parents=True, exist_ok=True)
    data = "synthetic phantom" if opened.synthetic else "data set of the bundle"
    title = f"{settings['attack']}, {len(result.records)} samples ({data})"
    overall, by_class = result.accuracy(), {name: result.accuracy(k) for k, name in enumerate(classes)}
    content = {
        "settings": settings,
        "checkpoint": str(opened.checkpoint),
        "data": data,
        "machine": machine(opened.device),
        "versions": {name: version(name) for name in ("monai-ima", "monai", "torch", "pytorch-ignite", "numpy")},
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
    shown = [example for _, example in sorted(result.examples.items()) if example.clean.ndim == 3]
    if shown:
        save_figure(attack_examples(shown, classes, title), folder / "examples.png")


def machine(device: torch.device | str = "cpu") -> str:
    """The kind of machine that a figure comes from, without its name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


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
