"""What the tests of nnU-Net share: phantoms in its folders, planned and preprocessed, and short trainings."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
QUICK = {"steps": 2, "eps_max": 4.0, "delta": 1.0, "threshold": 0.05}


def nnunet_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's three folders below one, in the environment."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(name, str(folder / name))
    # Threads in place of processes that import everything once more.
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
    for name, value in {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}.items():
        monkeypatch.setenv(name, value)
    return folder


def to_raw(msd: Path, folder: Path, number: int, limit: int | None = None, **changes: Any) -> str:
    """A data set in MSD layout as nnU-Net's raw data; its name.

    Args:
        msd: with ``dataset.json``, ``imagesTr`` and ``labelsTr``.
        folder: above nnU-Net's three.
        number: of the data set.
        limit: so many scans only.
        changes: fields of ``dataset.json``.
    """
    name = f"Dataset{number:03d}_Phantom"
    raw = folder / "nnUNet_raw" / name
    images = sorted((msd / "imagesTr").glob("[!.]*.nii.gz"))[:limit]
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for image in images:
        shutil.copy(image, raw / "imagesTr" / image.name.replace(".nii.gz", "_0000.nii.gz"))
        shutil.copy(msd / "labelsTr" / image.name, raw / "labelsTr" / image.name)
    labels = json.loads((msd / "dataset.json").read_text())["labels"]
    note = {"channel_names": {"0": "MRI"}, "labels": {text: int(k) for k, text in labels.items()}}
    note |= {"numTraining": len(images), "file_ending": ".nii.gz", **changes}
    (raw / "dataset.json").write_text(json.dumps(note))
    return name


def plan_small(folder: Path, name: str, configuration: str = "3d_fullres", patch: Sequence[int] = (16, 16, 16)) -> None:
    """Fingerprint, plans of a tiny network, preprocessing."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    number = int(name[7:10])
    extract_fingerprint_dataset(number, num_processes=1, show_progress_bar=False)
    plan_experiment_dataset(number)
    file = folder / "nnUNet_preprocessed" / name / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    small = plans["configurations"][configuration]
    small |= {"patch_size": list(patch), "batch_size": 2}
    axes, arguments = len(patch), small["architecture"]["arch_kwargs"]
    arguments |= {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "kernel_sizes": [[3] * axes] * 3,
        "strides": [[1] * axes, [2] * axes, [2] * axes],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
    }
    file.write_text(json.dumps(plans))
    preprocess_dataset(number, configurations=(configuration,), num_processes=(1,), show_progress_bar=False)
    os.environ["nnUNet_n_proc_DA"] = "0"


def trainer_of(
    trainer_class: Any, folder: Path, name: str, configuration: str = "3d_fullres", resumed: bool = False, **settings: Any
) -> Any:
    """A trainer on the CPU of 2 epochs of 2 iterations, not initialised."""
    preprocessed = folder / "nnUNet_preprocessed" / name
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    plans["continue_training"] = resumed
    note = json.loads((preprocessed / "dataset.json").read_text())
    trainer = trainer_class(plans, configuration, 0, note, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
    trainer.plot_network_architecture = trainer.logger.plot_progress_png = lambda *_: None
    for key, value in settings.items():
        setattr(trainer, key, value)
    return trainer


def seed_all(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
