"""What ``make demo`` runs: IMA beside plain training on the SYNTHETIC OCT phantom, from the same start.

Both networks are evaluated under 100-step PGD with 2 restarts at five levels, and the smallest noise that changes each
answer is searched for; so are the changes that scanners make (:data:`SCANNER`), in worst and average case. IMA's
robustness is checked for gradient masking. All of it goes into one report. Small images and a small network, so that it
ends within minutes on two cores.

    python benchmarks/demo.py --out demo_output
"""

from __future__ import annotations

import csv
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fire

from monai_ima.cli.evaluation_run import print_verdicts
from monai_ima.cli.margins import margins
from monai_ima.cli.report import report
from monai_ima.evaluation.pipeline import measure as measure_robustness
from monai_ima.harden.loading import load_bundle
from monai_ima.results.provenance import machine
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.interrupts import ending_with_one_line
from monai_ima.visualize import robustness_curves, save_figure
from studies import REPO, bundle_training

BUNDLE = REPO / "bundles" / "oct_classification_ima"
TITLES = {"plain": "plain training", "ima": "IMA"}
NORM, LEVELS, ATTACK = "linf", [0.0, 0.005, 0.01, 0.015, 0.02], "pgd100x2"
SCANNER = "speckle@20,bias_field@20,gamma@40"
"""Sizes in per cent."""
NETWORK = {"network_def#channels": [16, 32, 64, 64], "network_def#blocks": [1, 1, 1, 1]}
DATA = {"image_size": 64, "phantom_per_class": {"train": 200, "val": 40, "test": 50}}
TRAINING = {"epochs": 30, "batch_size": 32, "learning_rate": 0.002, "num_workers": 1, "val_interval": 5}
IMA = {
    "eps_max": 0.02,
    "delta": 0.002,
    "beta": 0.5,
    "steps": 7,
    "update": "online",
    "train#handlers#0#start_epoch": 15,
    "val_eps": 0.01,
    "val_steps": 10,
}
"""Plain training for half of the epochs first; chosen on the phantom's validation scans."""


def train(out: Path, name: str, overlays: list[str], settings: dict[str, Any]) -> float:
    """Run the bundle's training config; returns seconds."""
    begin = time.perf_counter()
    places = {"output_dir": str(out / name), "phantom_dir": str(out / "synthetic_oct")}
    workflow = bundle_training(BUNDLE, out / name / "models", overlays, logging_file=None, **places, **settings)
    logging.disable(logging.INFO)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    logging.disable(logging.NOTSET)
    return time.perf_counter() - begin


def measure(out: Path, name: str, checkpoint: Path, settings: dict[str, Any], other: Path | None) -> list[float]:
    """Attack the test scans at every level, into OUT/NAME/robustness; returns the accuracy under all attacks together.

    With another model's weights the checks for gradient masking are made too.
    """
    phantom: dict[str, Any] = {"phantom_dir": str(out / "synthetic_oct"), "batch_size": 50, **DATA, **NETWORK}
    loaded = replace(load_bundle(BUNDLE, checkpoint=checkpoint, **phantom), name=TITLES[name])
    evaluation = EvaluationSettings(
        levels=LEVELS,
        norm=NORM,
        attack=ATTACK,
        minimum=True,
        checks=other is not None,
        transfer_from=other,
        perturbation=SCANNER,
    )
    folder = out / name / "robustness"
    results = measure_robustness(evaluation, loaded, folder)
    print_verdicts(results)
    shown = ("norm", "levels", "attack", "seed", "minimum", "eot", "group_by", "perturbation", "draws")
    about = {key: evaluation.arguments()[key] for key in shown}
    results.model_copy(update={"settings": {**about, "training": settings}, "command": "make demo"}).write(folder)
    return results.strongest.values


def main(out: str = "demo_output", seed: int = 0, noisy_samples: str = "all") -> None:
    """Train, evaluate, draw.

    Args:
        out: folder to write to, empty or missing.
        seed: of data order and start.
        noisy_samples: which of IMA's noisy samples it trains on: all or boundary.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        print(f"Folder {folder} is not empty, expected an empty or missing one.", file=sys.stderr)
        sys.exit(2)
    print("SYNTHETIC data: the OCT phantom of monai_ima, 64 x 64 pixels. Nothing here was measured on a patient.")
    begin = time.perf_counter()
    settings = {"seed": seed, **DATA, **NETWORK, **TRAINING}
    runs = {
        "plain": (["train_ce.json"], {}, "model_ce.pt"),
        "ima": ([], {"norm": NORM, **IMA, "train#handlers#0#noisy_samples": noisy_samples}, "model.pt"),
    }
    accuracies: dict[str, list[float]] = {}
    weights: dict[str, Path] = {}
    for name, (overlays, extra, checkpoint) in runs.items():
        print(f"\n{name}: training {TRAINING['epochs']} epochs")
        seconds = train(folder, name, overlays, {**settings, **extra})
        print(f"{name}: trained in {seconds:.0f} s; now {ATTACK} at {len(LEVELS)} levels")
        weights[name] = folder / name / "models" / checkpoint
        other = weights["plain"] if name == "ima" else None
        accuracies[name] = measure(folder, name, weights[name], {**settings, **extra}, other)
    margins(str(folder / "ima" / "models" / "model_last.pt"), str(folder / "ima" / "margins"))

    title = f"synthetic OCT phantom, {ATTACK} and smallest noise, seed {seed}"
    save_figure(robustness_curves(LEVELS, accuracies, NORM, title), folder / "curves.png")
    with open(folder / "table.csv", "x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["training", *LEVELS], *([name, *row] for name, row in accuracies.items())])
    print(f"\nAccuracy on the SYNTHETIC test scans under {ATTACK} and a search for the smallest noise, by L∞ level:")
    print(f"{'':10}" + "".join(f"{level:>8g}" for level in LEVELS))
    for name, values in accuracies.items():
        print(f"{name:10}" + "".join(f"{value:>8.3f}" for value in values))
    found = [folder / name / "robustness" / "results.json" for name in runs]
    last = folder / "ima" / "models" / "model_last.pt"
    report([str(file) for file in found], str(folder / "report.html"), checkpoint=str(last), logs=str(folder / "ima"))
    print(f"\n{time.perf_counter() - begin:.0f} s on {machine()}. Figures and numbers are in {folder}.")
    print(f"The report: {folder / 'report.html'}")


if __name__ == "__main__":
    with ending_with_one_line("`make demo` starts afresh."):
        fire.Fire(main)
