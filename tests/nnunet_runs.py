"""What the tests of nnU-Net share: its folders, and short trainings."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_hippocampus import FOLDERS, set_folders

QUICK = {"steps": 2, "eps_max": 4.0, "delta": 1.0, "threshold": "relative:0.9"}


@contextmanager
def nnunet_folders(folder: Path) -> Iterator[Path]:
    """nnU-Net's three folders below one, in the environment; threads in place of processes that import all anew."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*FOLDERS, "nnUNet_compile", "nnUNet_n_proc_DA", "nnUNet_def_n_proc"):
            patch.setenv(name, "")
        set_folders(folder)
        patch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
        yield folder


def trainer_of(
    trainer_class: Any,
    folder: Path,
    name: str,
    configuration: str = "3d_fullres",
    resumed: bool = False,
    **settings: Any,
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
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
