"""What ``make demo`` runs: IMA beside plain training on the SYNTHETIC OCT phantom, from the same start.

Both networks are evaluated under 100-step PGD with 2 restarts at five levels, and the smallest noise that changes each
answer is searched for; so are the changes that scanners make (:data:`SCANNER`), in worst and average case. IMA's
robustness is checked for gradient masking. All of it goes into one report. Small images and a small network, two
processes of one thread each at a time, so that it ends within minutes on two cores.

    python benchmarks/demo.py --out demo_output
"""

from __future__ import annotations

import csv
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.interrupts import ending_with_one_line
from monai_ima.visualize import robustness_curves, save_figure
from studies import REPO, bundle_training, run_one

BUNDLE = REPO / "bundles" / "oct_classification_ima"
TITLES = {"plain": "plain training", "ima": "IMA"}
NORM, LEVELS, ATTACK = "linf", [0.0, 0.005, 0.01, 0.015, 0.02], "pgd100x2"
BATCH_SIZE = 100
SCANNER = "speckle@20,bias_field@20,gamma@40"
"""Sizes in per cent."""
NETWORK = {"network_def#channels": [8, 16, 32, 64], "network_def#blocks": [1, 1, 1, 1]}
DATA = {"image_size": 64, "phantom_per_class": {"train": 225, "val": 30, "test": 25}}
TRAINING = {
    "epochs": 18,
    "batch_size": 24,
    "learning_rate": 0.003,
    "val_interval": 6,
    "train#random_transforms": [{"_target_": "RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 1}],
}
"""Without the bundle's rotations and shifts, which take longer than the network's step: more scans are quicker."""
IMA = {
    "eps_max": 0.02,
    "delta": 0.0025,
    "beta": 0.5,
    "steps": 7,
    "update": "online",
    "train#handlers#0#start_epoch": 9,
    "val_eps": 0.01,
    "val_steps": 10,
}
"""Plain training for half of the epochs first."""
WEIGHTS = {"plain": "model_ce.pt", "ima": "model.pt"}


def training_settings(name: str, seed: int, noisy_samples: str) -> dict[str, Any]:
    """Config ids of a training."""
    settings = {"seed": seed, **DATA, **NETWORK, **TRAINING}
    if name == "ima":
        settings |= {"norm": NORM, **IMA, "train#handlers#0#noisy_samples": noisy_samples}
    return settings


def train(out: Path, name: str, settings: dict[str, Any]) -> None:
    """Run the bundle's training config."""
    overlays = ["train_ce.json"] if name == "plain" else []
    places = {"output_dir": str(out / name), "phantom_dir": str(out / "synthetic_oct")}
    workflow = bundle_training(BUNDLE, out / name / "models", overlays, logging_file=None, **places, **settings)
    logging.disable(logging.INFO)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def measure(out: Path, name: str, settings: dict[str, Any]) -> None:
    """Attack the test scans at every level, into OUT/NAME/robustness; IMA is checked for gradient masking too."""
    evaluation = EvaluationSettings(
        levels=LEVELS,
        norm=NORM,
        attack=ATTACK,
        minimum=True,
        checks=name == "ima",
        transfer_from=weights(out, "plain") if name == "ima" else None,
    )
    _measured(evaluation, out, name, settings, "robustness")


def perturb(out: Path, name: str, settings: dict[str, Any]) -> None:
    """Worst and average case under :data:`SCANNER`, into OUT/NAME/scanner."""
    evaluation = EvaluationSettings(levels=[0.0], norm=NORM, attack=ATTACK, perturbation=SCANNER)
    _measured(evaluation, out, name, settings, "scanner")


def _measured(evaluation: EvaluationSettings, out: Path, name: str, settings: dict[str, Any], folder: str) -> None:
    phantom: dict[str, Any] = {"phantom_dir": str(out / "synthetic_oct"), "batch_size": BATCH_SIZE, **DATA, **NETWORK}
    loaded = replace(load_bundle(BUNDLE, checkpoint=weights(out, name), **phantom), name=TITLES[name])
    results = measure_robustness(evaluation, loaded, out / name / folder)
    shown = ("norm", "levels", "attack", "seed", "minimum", "eot", "group_by", "perturbation", "draws")
    about = {key: value for key, value in evaluation.arguments().items() if key in shown}
    found = results.model_copy(update={"settings": {**about, "training": settings}, "command": "make demo"})
    found.write(out / name / folder)


STAGES = {"training": train, "attacks": measure, "perturbations": perturb}


def together(out: Path, name: str) -> ClassificationResults | SegmentationResults:
    """The results of both evaluations of a network, with their pictures, in OUT/NAME/robustness."""
    folder, scanner = out / name / "robustness", out / name / "scanner"
    results, perturbed = Results.read(folder), Results.read(scanner)
    shutil.copytree(scanner / "perturbations", folder / "perturbations")
    for file in scanner.glob("perturbations.*"):
        shutil.copy(file, folder)
    settings = {**results.settings, **{key: perturbed.settings[key] for key in ("perturbation", "draws")}}
    results = results.model_copy(update={"perturbations": perturbed.perturbations, "settings": settings})
    results.write(folder)
    shutil.rmtree(scanner)
    return results


def weights(out: Path, name: str) -> Path:
    """The checkpoint that is evaluated: the best on the validation scans."""
    return out / name / "models" / WEIGHTS[name]


def one(stage: str, out: str, name: str, seed: str, noisy_samples: str) -> None:
    """One stage of one network."""
    STAGES[stage](Path(out), name, training_settings(name, int(seed), noisy_samples))


def side_by_side(parts: Sequence[tuple[str, str]], out: Path, seed: int, noisy_samples: str) -> None:
    """Stages of networks, two at a time; results are those of one after the other."""

    def run(part: tuple[str, str]) -> None:
        stage, name = part
        begin, log = time.perf_counter(), out / f"{stage}_{name}.log"
        if run_one(__file__, [stage, out, name, seed, noisy_samples], log, threads=1, check=False) != 0:
            raise SystemExit(f"{TITLES[name]}: {stage} failed, see {log}.")
        print(f"{TITLES[name]}: {stage} took {time.perf_counter() - begin:.0f} s", flush=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, parts))


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
    begin = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print("SYNTHETIC data: the OCT phantom of monai_ima, 64 x 64 pixels. Nothing here was measured on a patient.")
    print(f"Both networks side by side: {TRAINING['epochs']} epochs, then {ATTACK} at {len(LEVELS)} levels", flush=True)
    training, *evaluation = STAGES
    for stages in ([training], evaluation):
        parts = [(stage, name) for stage in stages for name in reversed(TITLES)]  # IMA, which takes longer, first
        side_by_side(parts, folder, seed, noisy_samples)
    margins(str(folder / "ima" / "models" / "model_last.pt"), str(folder / "ima" / "margins"))

    found = {name: together(folder, name) for name in TITLES}
    print_verdicts(found["ima"])
    accuracies = {name: results.strongest.values for name, results in found.items()}
    title = f"synthetic OCT phantom, {ATTACK} and smallest noise, seed {seed}"
    save_figure(robustness_curves(LEVELS, accuracies, NORM, title), folder / "curves.png")
    with open(folder / "table.csv", "x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["training", *LEVELS], *([name, *row] for name, row in accuracies.items())])
    print(f"\nAccuracy on the SYNTHETIC test scans under {ATTACK} and a search for the smallest noise, by L∞ level:")
    print(f"{'':10}" + "".join(f"{level:>8g}" for level in LEVELS))
    for name, values in accuracies.items():
        print(f"{name:10}" + "".join(f"{value:>8.3f}" for value in values))
    files = [str(folder / name / "robustness" / "results.json") for name in TITLES]
    last = folder / "ima" / "models" / "model_last.pt"
    report(files, str(folder / "report.html"), checkpoint=str(last), logs=str(folder / "ima"))
    print(f"\n{time.perf_counter() - begin:.0f} s on {machine()}. Figures and numbers are in {folder}.")
    print(f"The report: {folder / 'report.html'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        with ending_with_one_line("`make demo` starts afresh."):
            fire.Fire(main)
