"""Hardening in physical units beside pixel noise, on real hippocampus scans under the changes that scanners make.

Four trainings of the bundle's small network from its shipped plain-trained weights, as many epochs each: plain; plain
with random draws of a chain of bias field, noise level and contrast; IMA with L2 noise; IMA in the chain's parameters.
Dice of the bundle's 40 test scans under every perturbation: the worst case (PGD in its parameters) and the average case
(random draws of the same size).

    python benchmarks/perturbations.py --data DIR      (folder in MSD layout: Task04_Hippocampus)

Each part leaves a record in docs/results/records/perturbations; with all of them only the page,
docs/results/perturbations.md, is written, which needs no data. Weights stay in ``runs/perturbations``, where an
interrupted part is resumed. At most two hours on two cores.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from compare_records import check_note, write_record
from compare_run import margin_summary
from hippocampus import BUNDLE, COMMON, EPOCHS, Model, train
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.harden.loading import load_bundle
from monai_ima.perturbations import perturbation_from_name
from monai_ima.results.schema import SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from studies import (
    RESULTS,
    CommandLine,
    add_time,
    integer,
    read_json,
    run_one,
    setting,
    table,
    threads_each,
    total_time,
    write_page,
)

SEED, NETWORK, ATTACK, DRAWS, RESAMPLES = 0, "small", "pgd20", 10, 10_000
CHAIN = "bias_field:40+noise:10+gamma:40"
IN_CHAIN = {"_target_": "monai_ima.perturbations.perturbation_from_name", "text": CHAIN}
LEVELS = [0.0, 5.0, 10.0, 20.0]
SIZES = {
    "bias_field": (10, 20, 40),
    "noise": (2, 5, 10),
    "gamma": (10, 20, 40),
    "intensity_shift": (5, 10, 20),
    "rician": (2, 5, 10),
    "blur": (0.5, 1, 1.5),
    "ghosting": (5, 10, 20),
    "motion": (0.5, 1, 2),
    "gibbs": (20, 40, 60),
    "rotation": (5, 10, 20),
    "elastic": (1, 2, 3),
}
TRAINED = ("bias_field", "noise", "gamma")
SETTINGS = {"threshold": 0.8, "train#handlers#0#start": "clean"}
ROWS = {
    "plain": Model("plain training", "train_ce.json"),
    "random": Model(
        "random draws of the chain",
        "train_pgd.json",
        {"eps": 1.0, "train#handlers#0#perturbation": IN_CHAIN, "steps": 1, "train#handlers#0#alpha": 1e-6},
    ),
    "ima_l2": Model("IMA, L2 noise, ε_max 20", settings={"eps_max": 20.0, "delta": 4.0, **SETTINGS}),
    "ima_chain": Model(
        "IMA, chain, ε_max 1",
        settings={"eps_max": 1.0, "delta": 0.1, "train#handlers#0#perturbation": IN_CHAIN, **SETTINGS},
    ),
}


def note(model: Model) -> dict[str, Any]:
    """What a record is of."""
    return {
        "overlay": model.overlay,
        "settings": {**COMMON, **model.settings},
        "epochs": EPOCHS,
        "seed": SEED,
        "levels": LEVELS,
        "sizes": {name: list(sizes) for name, sizes in SIZES.items()},
        "attack": ATTACK,
        "draws": DRAWS,
    }


def one(name: str, data: Path, folder: Path, records: Path, threads: int) -> None:
    """Train and measure one row, in a process of its own, and write its record."""
    torch.set_num_threads(threads)
    logging.getLogger().setLevel(logging.WARNING)
    model, place = ROWS[name], folder / name
    place.mkdir(parents=True, exist_ok=True)
    checkpoint = train(model, NETWORK, str(data), place, BUNDLE / "models" / "model_ce.pt", SEED)
    results = measure(checkpoint, data, place)
    record = {
        "note": note(model),
        "where": setting(threads, "training"),
        "seconds": round(total_time(place), 1),
        "clean": {scan.sample_id: round(scan.scores[0].mean("dice"), 4) for scan in results.samples},
        "noise": {
            scan.sample_id: [round(scores.mean("dice"), 4) for scores in scan.scores] for scan in results.samples
        },
        "perturbations": {
            found.name.split("@")[0]: {
                sample.sample_id: {"worst": sample.worst, "average": sample.average} for sample in found.samples
            }
            for found in results.perturbations
        },
        "margins": margin_summary(checkpoint) if model.overlay is None else None,
    }
    write_record(records / f"{name}.json", record)


def measure(checkpoint: Path, data: Path, folder: Path) -> SegmentationResults:
    """Dice of the test scans under noise and under every perturbation; what was broken off goes on."""
    asked = ",".join(f"{name}@{':'.join(map(str, sizes))}" for name, sizes in SIZES.items())
    settings = EvaluationSettings(
        levels=LEVELS, norm="l2", attack=ATTACK, out=folder / "robustness", perturbation=asked, draws=DRAWS, seed=SEED
    )
    loaded = load_bundle(BUNDLE, checkpoint=checkpoint, dataset_dir=str(data), network=NETWORK, check_files=False)
    results: Any = evaluate_loaded(settings, loaded)
    return results


def read(records: Path) -> dict[str, dict[str, Any]]:
    """The records that are there, by row.

    Raises:
        RecordError: if one was made with other settings.
    """
    found = {}
    for name, model in ROWS.items():
        file = records / f"{name}.json"
        if file.is_file():
            found[name] = read_json(file)
            check_note(file, found[name]["note"], note(model))
    return found
