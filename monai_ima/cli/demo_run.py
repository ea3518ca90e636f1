"""What ``monai-ima demo`` runs: IMA beside plain training on the SYNTHETIC OCT phantom, from the same start.

Both networks are evaluated under PGD with restarts at five levels, and the smallest noise that changes each answer is
searched for; so are the changes that scanners make (:data:`SCANNER`), in worst and average case. IMA's robustness is
checked for gradient masking. All of it goes into one report. Small images and a small network, two processes of one
thread each at a time, so that it ends within minutes on two cores.
"""

from __future__ import annotations

import csv
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import torch
from monai.bundle import ConfigWorkflow

from monai_ima.cli.bundle import shipped_bundles
from monai_ima.cli.evaluation_run import print_verdicts
from monai_ima.cli.margins import margins
from monai_ima.cli.report import report
from monai_ima.evaluation.pipeline import measure as measure_robustness
from monai_ima.harden.loading import load_bundle
from monai_ima.results.provenance import machine
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.visualize import robustness_curves, save_figure

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

__all__ = ["Demo", "run_demo"]

BUNDLE = "oct_classification_ima"
TITLES = {"plain": "plain training", "ima": "IMA"}
NORM, LEVELS = "linf", [0.0, 0.005, 0.01, 0.015, 0.02]
BATCH_SIZE = 100
SCANNER = "speckle@20,bias_field@20,gamma@40"
"""Sizes in per cent."""
NETWORK = {"network_def#channels": [8, 16, 32, 64], "network_def#blocks": [1, 1, 1, 1]}
TRAINING = {
    "batch_size": 24,
    "learning_rate": 0.003,
    "train#random_transforms": [{"_target_": "RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 1}],
}
"""Without the bundle's rotations and shifts, which take longer than the network's step: more scans are quicker."""
IMA = {
    "eps_max": 0.02,
    "delta": 0.0025,
    "beta": 0.5,
    "steps": 7,
    "update": "online",
    "val_eps": 0.01,
    "val_steps": 10,
}
WEIGHTS = {"plain": "model_ce.pt", "ima": "model.pt"}


@dataclass(frozen=True)
class Size:
    """How much a demo trains and measures.

    Attributes:
        image_size: side of the scans in pixels.
        scans: of each class, by split.
        epochs: IMA trains plainly in the first half of them.
        val_interval: epochs between validations.
        attack: name of the attack.
        thorough: search for the smallest noise and check for gradient masking too.
    """

    image_size: int
    scans: dict[str, int]
    epochs: int
    val_interval: int
    attack: str
    thorough: bool

    @property
    def data(self) -> dict[str, Any]:
        """Config ids of the phantom."""
        return {"image_size": self.image_size, "phantom_per_class": self.scans}

    @property
    def training(self) -> dict[str, Any]:
        """Config ids of both trainings."""
        return {"epochs": self.epochs, "val_interval": self.val_interval, **TRAINING}


FULL = Size(64, {"train": 225, "val": 30, "test": 25}, epochs=18, val_interval=6, attack="pgd100x2", thorough=True)
QUICK = Size(40, {"train": 36, "val": 6, "test": 8}, epochs=6, val_interval=3, attack="pgd10", thorough=False)


@dataclass(frozen=True)
class Demo:
    """What a demo is asked for.

    Attributes:
        out: folder to write to, empty or missing.
        seed: of data order and start.
        noisy_samples: which of IMA's noisy samples it trains on: all or boundary.
        quick: of size :data:`QUICK` in place of :data:`FULL`.
    """

    out: Path
    seed: int = 0
    noisy_samples: str = "all"
    quick: bool = False

    @property
    def size(self) -> Size:
        """How much is trained and measured."""
        return QUICK if self.quick else FULL

    @property
    def command(self) -> str:
        """The command line that makes the same numbers."""
        seed = f" --seed {self.seed}" if self.seed else ""
        samples = f" --noisy_samples {self.noisy_samples}" if self.noisy_samples != "all" else ""
        return f"monai-ima demo{seed}{samples}" + (" --quick" if self.quick else "")

    def settings(self, name: str) -> dict[str, Any]:
        """Config ids of a network's training."""
        settings = {"seed": self.seed, **self.size.data, **NETWORK, **self.size.training}
        if name == "ima":
            start = {"train#handlers#0#start_epoch": self.size.epochs // 2}
            settings |= {"norm": NORM, **IMA, **start, "train#handlers#0#noisy_samples": self.noisy_samples}
        return settings

    def weights(self, name: str) -> Path:
        """The checkpoint that is evaluated: the best on the validation scans."""
        return self.out / name / "models" / WEIGHTS[name]


def train(demo: Demo, name: str) -> None:
    """Run the bundle's training config."""
    configs, folder = shipped_bundles()[BUNDLE] / "configs", demo.out / name
    files = ["train.json", *(["train_ce.json"] if name == "plain" else [])]
    workflow = ConfigWorkflow(
        [str(configs / file) for file in files],
        logging_file=None,
        bundle_root=str(configs.parent),
        output_dir=str(folder),
        ckpt_dir=str(folder / "models"),
        phantom_dir=str(demo.out / "synthetic_oct"),
        **demo.settings(name),
    )
    logging.disable(logging.INFO)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def measure(demo: Demo, name: str) -> None:
    """Attack the test scans at every level, into OUT/NAME/robustness; IMA is checked for gradient masking too."""
    checks = demo.size.thorough and name == "ima"
    evaluation = EvaluationSettings(
        levels=LEVELS,
        norm=NORM,
        attack=demo.size.attack,
        minimum=demo.size.thorough,
        checks=checks,
        transfer_from=demo.weights("plain") if checks else None,
    )
    _measured(evaluation, demo, name, "robustness")


def perturb(demo: Demo, name: str) -> None:
    """Worst and average case under :data:`SCANNER`, into OUT/NAME/scanner."""
    evaluation = EvaluationSettings(levels=[0.0], norm=NORM, attack=demo.size.attack, perturbation=SCANNER)
    _measured(evaluation, demo, name, "scanner")


def _measured(evaluation: EvaluationSettings, demo: Demo, name: str, folder: str) -> None:
    phantom = {"phantom_dir": str(demo.out / "synthetic_oct"), "batch_size": BATCH_SIZE, **demo.size.data, **NETWORK}
    bundle = load_bundle(shipped_bundles()[BUNDLE], checkpoint=demo.weights(name), **phantom)
    results = measure_robustness(evaluation, replace(bundle, name=TITLES[name]), demo.out / name / folder)
    shown = ("norm", "levels", "attack", "seed", "minimum", "eot", "group_by", "perturbation", "draws")
    settings = {key: value for key, value in evaluation.arguments().items() if key in shown}
    settings |= {"training": demo.settings(name)}
    results.model_copy(update={"settings": settings, "command": demo.command}).write(demo.out / name / folder)


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


def run_process(stages: Sequence[str], name: str, demo: Demo, log: Path, stopped: Event) -> int:
    """Stages of one network in a process of one thread, which prints into a file; returns its exit code.

    The process is ended once ``stopped`` is set.
    """
    process = _processes().Process(target=_run_stages, args=(stages, name, demo, log))
    process.start()
    while process.is_alive():
        if stopped.is_set():
            process.terminate()
        process.join(0.5)
    return int(process.exitcode or 0)


@cache
def _processes() -> ForkServerContext | SpawnContext:
    """Processes that are forked off one which has imported what they need, where there are such.

    Ctrl-C reaches every process of a terminal: they leave it to this one, which ends them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forkserver.ensure_running()
    signal.signal(signal.SIGINT, before)
    return context


def _run_stages(stages: Sequence[str], name: str, demo: Demo, log: Path) -> None:
    with open(log, "ab") as lines:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(lines.fileno(), stream.fileno())
    torch.set_num_threads(1)
    for stage in stages:
        STAGES[stage](demo, name)


def rounds(demo: Demo) -> list[list[list[str]]]:
    """The stages that a network's process runs, by round: IMA's checks need the other network's weights."""
    training, *evaluation = STAGES
    return [[[training]], [[stage] for stage in evaluation]] if demo.size.thorough else [[list(STAGES)]]


def side_by_side(parts: Sequence[tuple[Sequence[str], str]], demo: Demo) -> None:
    """Stages of networks, two at a time; results are those of one after the other."""
    stopped = Event()

    def run(part: tuple[Sequence[str], str]) -> None:
        stages, name = part
        begin, log = time.perf_counter(), demo.out / f"{'_'.join(stages)}_{name}.log"
        done = " and ".join(stages)
        if run_process(stages, name, demo, log, stopped) != 0 and not stopped.is_set():
            raise SystemExit(f"{TITLES[name]}: {done} failed, see {log}.")
        print(f"{TITLES[name]}: {done} took {time.perf_counter() - begin:.0f} s", flush=True)

    with ThreadPoolExecutor(2) as pool:
        try:
            list(pool.map(run, parts))
        finally:
            stopped.set()


def run_demo(demo: Demo) -> None:
    """Train, evaluate, draw; the results go into the demo's folder, the last line says where the report is."""
    begin, size, out = time.perf_counter(), demo.size, demo.out
    out.mkdir(parents=True, exist_ok=True)
    side = f"{size.image_size} x {size.image_size}"
    print(f"SYNTHETIC data: the OCT phantom of monai_ima, {side} pixels. Nothing here was measured on a patient.")
    if demo.quick:
        print("QUICK: fewer and smaller scans, a short training, a weak attack. It shows that all runs, no more.")
    _processes()
    print(f"Both networks side by side: {size.epochs} epochs, then {size.attack} at {len(LEVELS)} levels", flush=True)
    for processes in rounds(demo):
        side_by_side([(stages, name) for stages in processes for name in reversed(TITLES)], demo)  # IMA takes longer
    last = out / "ima" / "models" / "model_last.pt"
    margins(str(last), str(out / "ima" / "margins"))

    found = {name: together(out, name) for name in TITLES}
    print_verdicts(found["ima"])
    _show({name: results.strongest.values for name, results in found.items()}, demo)
    files = [str(out / name / "robustness" / "results.json") for name in TITLES]
    report(files, str(out / "report.html"), checkpoint=str(last), logs=str(out / "ima"))
    print(f"\n{time.perf_counter() - begin:.0f} s on {machine()}. Figures and numbers are in {out}.")
    print(f"The report: {out / 'report.html'}")


def _show(accuracies: dict[str, list[float]], demo: Demo) -> None:
    """Draw the accuracies, write them to table.csv, and print them."""
    searched = " and smallest noise" if demo.size.thorough else ""
    title = f"synthetic OCT phantom, {demo.size.attack}{searched}, seed {demo.seed}"
    save_figure(robustness_curves(LEVELS, accuracies, NORM, title), demo.out / "curves.png")
    with open(demo.out / "table.csv", "x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["training", *LEVELS], *([name, *row] for name, row in accuracies.items())])
    searched = " and a search for the smallest noise" if demo.size.thorough else ""
    print(f"\nAccuracy on the SYNTHETIC test scans under {demo.size.attack}{searched}, by L∞ level:")
    print(f"{'':10}" + "".join(f"{level:>8g}" for level in LEVELS))
    for name, values in accuracies.items():
        print(f"{name:10}" + "".join(f"{value:>8.3f}" for value in values))
