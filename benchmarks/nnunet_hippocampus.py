"""nnU-Net v2 on real hippocampus scans: nnUNetTrainer and nnUNetTrainerIMA from the same start, under attack.

nnU-Net's own plans, preprocessing, augmentation and fold 0 (160 scans to train, 40 to measure), with a small network
and few iterations: a plain start, then as many epochs of either trainer from its weights, with a schedule of their own.
Dice of the fold's validation scans on nnU-Net's grid, under 20-step PGD in L2.

    python benchmarks/nnunet_hippocampus.py --data DIR      (folder in MSD layout: Task04_Hippocampus)

Each part leaves a record in docs/results/records/nnunet; with all of them only the page, docs/results/nnunet.md,
is written, which needs no data. Preprocessed scans and weights stay in ``runs/nnunet_hippocampus``, where an
interrupted part is resumed. At most an hour on two cores.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compare_records import kept_records, write_record
from studies import (
    RESULTS,
    CommandLine,
    add_time,
    cells,
    integer,
    level_titles,
    read_json,
    run_one,
    setting,
    side_by_side,
    table,
    threads_each,
    total_time,
    write_page,
)

NUMBER, CONFIGURATION, FOLD, SEED = 4, "3d_fullres", 0, 0
NAME = f"Dataset{NUMBER:03d}_Hippocampus"
LEVELS, ATTACK = [0.0, 5.0, 10.0], "pgd20"
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
AUGMENTING = "nnUNet_n_proc_DA"
IMA: dict[str, Any] = {"eps_max": 10.0, "delta": 2.0, "steps": 7, "schedule": "constant"}
FEATURES = (8, 16, 32, 64)
ROWS = {"nnUNetTrainer": "nnUNetTrainer", "nnUNetTrainerIMA": "nnUNetTrainerIMA, ε_max 10, δ 2"}


def set_folders(folder: Path) -> None:
    """Name nnU-Net's folders below one in the environment, with its own processes kept to this one."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str((folder / name).resolve())
    os.environ |= {"nnUNet_compile": "f", AUGMENTING: "0", "nnUNet_def_n_proc": "1"}


def write_raw(msd: Path, folder: Path, name: str = NAME, limit: int | None = None) -> None:
    """Copy a data set of one channel in MSD layout into nnU-Net's raw folder.

    Args:
        msd: with ``dataset.json``, ``imagesTr`` and ``labelsTr``.
        folder: above nnU-Net's.
        name: of the data set.
        limit: so many scans only; None: all.
    """
    raw = folder / "nnUNet_raw" / name
    images = sorted((msd / "imagesTr").glob("[!.]*.nii.gz"))[:limit]
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    for image in images:
        shutil.copy(image, raw / "imagesTr" / image.name.replace(".nii.gz", "_0000.nii.gz"))
        shutil.copy(msd / "labelsTr" / image.name, raw / "labelsTr" / image.name)
    source = read_json(msd / "dataset.json")
    labels = {text: int(value) for value, text in source["labels"].items()}
    note = {
        "name": source["name"],
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": len(images),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(note), encoding="utf-8")


def plan(folder: Path, name: str, features: Sequence[int], patch: Sequence[int] | None = None) -> None:
    """nnU-Net's fingerprint, plans and preprocessing, with a network of as many stages as there are features.

    Args:
        folder: above nnU-Net's.
        name: of the data set.
        features: of each stage.
        patch: in place of the planned patch size.
    """
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    number = int(name[7:10])
    extract_fingerprint_dataset(number, num_processes=1, show_progress_bar=False)
    os.environ[AUGMENTING] = "1"  # the planner sets that many threads
    plan_experiment_dataset(number)
    os.environ[AUGMENTING] = "0"
    file = folder / "nnUNet_preprocessed" / name / "nnUNetPlans.json"
    plans = read_json(file)
    planned, stages = plans["configurations"][CONFIGURATION], len(features)
    planned |= {"batch_size": 2, "patch_size": list(patch or planned["patch_size"])}
    axes = len(planned["patch_size"])
    planned["architecture"]["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": list(features),
        "kernel_sizes": [[3] * axes] * stages,
        "strides": [[1] * axes, *[[2] * axes] * (stages - 1)],
        "n_conv_per_stage": [1] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    file.write_text(json.dumps(plans), encoding="utf-8")
    preprocess_dataset(number, configurations=(CONFIGURATION,), num_processes=(1,), show_progress_bar=False)


def train(name: str, folder: Path, results: Path, epochs: int, iterations: int, start: Path | None) -> Path:
    """Train a fold, or resume what was interrupted; returns the last checkpoint.

    Args:
        name: of the trainer.
        folder: above nnU-Net's.
        results: its folder of results.
        epochs: number of them.
        iterations: of each.
        start: checkpoint whose weights training starts from; None: at random.
    """
    from nnunetv2.run.run_training import maybe_load_checkpoint
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from monai_ima.nnunet import nnUNetTrainerIMA

    last = results / NAME / f"{name}__nnUNetPlans__{CONFIGURATION}" / f"fold_{FOLD}" / "checkpoint_final.pth"
    if last.is_file():
        return last
    os.environ[FOLDERS[2]] = str(results)
    preprocessed = folder / "nnUNet_preprocessed" / NAME
    resumed = last.with_name("checkpoint_latest.pth").is_file()
    plans = {**read_json(preprocessed / "nnUNetPlans.json"), "continue_training": resumed}
    trainer: Any = {"nnUNetTrainer": nnUNetTrainer, "nnUNetTrainerIMA": nnUNetTrainerIMA}[name](
        plans, CONFIGURATION, FOLD, read_json(preprocessed / "dataset.json"), torch.device("cpu")
    )
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.save_every = epochs, iterations, 1
    trainer.num_val_iterations_per_epoch = max(1, iterations // 10)
    trainer.plot_network_architecture = trainer.logger.plot_progress_png = lambda *_: None
    for key, value in IMA.items():
        setattr(trainer, key, value)
    begin_epoch = trainer.on_epoch_start

    def seeded() -> None:
        random.seed(SEED + trainer.current_epoch)
        np.random.seed(SEED + trainer.current_epoch)  # noqa: NPY002
        torch.manual_seed(SEED + trainer.current_epoch)
        begin_epoch()

    trainer.on_epoch_start = seeded
    torch.manual_seed(SEED)
    if resumed:
        maybe_load_checkpoint(trainer, True, False)
    elif start is not None:
        trainer.initialize()
        trainer.network.load_state_dict(torch.load(start, weights_only=False)["network_weights"])
    trainer.run_training()
    return last


def one(name: str, folder: Path, records: Path, threads: int, note: dict[str, Any]) -> None:
    """One part, in a process of its own: ``start``, or a trainer from it, with its record."""
    torch.set_num_threads(threads)
    set_folders(folder)
    begin = time.perf_counter()
    (folder / name).mkdir(parents=True, exist_ok=True)
    started, continued = (folder / "nnUNet_results" / part for part in ("start", "continued"))
    start = train("nnUNetTrainer", folder, started, note["start_epochs"], note["iterations"], None)
    if name == "start":
        return add_time(folder / name, time.perf_counter() - begin)
    from monai_ima.nnunet import evaluate_fold
    from monai_ima.results.schema import SegmentationResults

    checkpoint = train(name, folder, continued, note["epochs"], note["iterations"], start)
    os.environ[FOLDERS[2]] = str(continued)
    out = folder / name / "robustness"
    if not (out / "results.json").is_file():
        evaluate_fold(NUMBER, CONFIGURATION, FOLD, LEVELS, "l2", ATTACK, out=out, trainer=name, device="cpu", seed=SEED)
    scans: Any = SegmentationResults.read(out).samples
    add_time(folder / name, time.perf_counter() - begin)
    state = torch.load(checkpoint, weights_only=False).get("monai_ima")
    record = {
        "note": note,
        "where": setting(threads, "training"),
        "seconds": round(total_time(folder / name) + total_time(folder / "start"), 1),
        "dice": {s.sample_id: [round(scores.mean("dice"), 4) for scores in s.scores] for s in scans},
        "margins": None if state is None else _summary(state["margins"]["margins"]),
        "data": read_json(folder / "nnUNet_preprocessed" / NAME / "dataset.json")["name"],
    }
    return write_record(records / f"{name}.json", record)


def _summary(margins: torch.Tensor) -> dict[str, float]:
    largest = float((margins >= IMA["eps_max"]).double().mean())
    return {"count": len(margins), "mean": round(float(margins.mean()), 3), "share_at_eps_max": round(largest, 3)}


def read(records: Path, note: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The records that are there, by trainer.

    Raises:
        RecordError: if one was made with other settings.
    """
    return kept_records(records, dict.fromkeys(ROWS, note))


def write(records: dict[str, dict[str, Any]], note: dict[str, Any], page: Path) -> None:
    """The page."""
    rows = []
    for name, record in records.items():
        dice = torch.tensor(list(record["dice"].values()), dtype=torch.float64)
        rows.append([ROWS[name], *cells(dice.mean(dim=0).tolist())])
    first, margins = next(iter(records.values())), records["nnUNetTrainerIMA"]["margins"]
    paragraphs = [
        "# nnU-Net v2: nnUNetTrainer and nnUNetTrainerIMA from the same start",
        f"Mean foreground Dice of {len(first['dice'])} validation scans of fold {FOLD} ({first['data']}) on nnU-Net's "
        "preprocessed grid, under 20-step PGD on soft Dice and cross-entropy, one start, at L2 noise ε in nnU-Net's "
        "normalised units.",
        f"    python benchmarks/nnunet_hippocampus.py --data Task04_Hippocampus        (seed {SEED})",
        f"{', '.join(sorted({record['where'] for record in records.values()}))}; "
        f"{sum(record['seconds'] for record in records.values()) / 60:.0f} minutes of all processes' wall time, the "
        "start counted for each row.",
        f"Small: nnU-Net's plans with {', '.join(map(str, FEATURES))} features and one convolution a stage, batches of "
        f"2; {note['start_epochs']} epochs of {note['iterations']} iterations of nnUNetTrainer, then {note['epochs']} "
        f"epochs of the row's trainer from its weights. Training attacks of {IMA['steps']} steps. These are no results "
        "of nnU-Net at its full size.",
        table(["training", *level_titles(LEVELS)], rows),
        f"Margins of {margins['count']} cases: mean {margins['mean']:.1f}, {margins['share_at_eps_max']:.0%} at ε_max.",
    ]
    write_page(page, paragraphs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the parts that have no record yet; the page when all of them are there.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a record cannot be used.
    """
    parser = CommandLine(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the scans in MSD layout")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/nnunet_hippocampus"), help="folder for scans and weights"
    )
    parser.add_argument("--records", type=Path, default=RESULTS / "records" / "nnunet")
    parser.add_argument("--page", type=Path, default=RESULTS / "nnunet.md")
    parser.add_argument("--workers", type=integer(1), default=2, help="trainings at a time")
    parser.add_argument("--limit", type=integer(5), help="so many scans only")
    parser.add_argument("--start_epochs", type=integer(1), default=20)
    parser.add_argument("--epochs", type=integer(1), default=10)
    parser.add_argument("--iterations", type=integer(1), default=50, help="of an epoch")
    options = parser.parse_args(arguments)
    schedule = {name: getattr(options, name) for name in ("start_epochs", "epochs", "iterations", "limit")}
    note = {**schedule, "ima": IMA, "features": FEATURES, "levels": LEVELS, "attack": ATTACK, "seed": SEED}
    try:
        waiting = [name for name in ROWS if name not in read(options.records, note)]
    except ValueError as error:
        parser.error(str(error))
    if waiting:
        if options.data is None or not (options.data / "dataset.json").is_file():
            parser.error(f"Records of {', '.join(waiting)} are missing: give --data, the folder Task04_Hippocampus.")
        _make(waiting, options, note)
    write(read(options.records, note), note, options.page)


def _make(names: Sequence[str], options: Any, note: dict[str, Any]) -> None:
    """Prepare the scans, train the start, then the rows beside each other."""
    folder, planned = options.out, options.out / "planned"
    set_folders(folder)
    if not planned.is_file():
        write_raw(options.data, folder, limit=options.limit)
        plan(folder, NAME, FEATURES)
        planned.touch()

    def run(name: str) -> None:
        threads = threads_each(1 if name == "start" else options.workers)
        log = folder / f"{name}.log"
        run_one(__file__, [name, folder, options.records, threads, json.dumps(note)], log, threads)

    side_by_side(names, run, options.workers, "parts", first=["start"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        name, folder, records, threads, note = sys.argv[2:7]
        one(name, Path(folder), Path(records), int(threads), json.loads(note))
    else:
        main()
