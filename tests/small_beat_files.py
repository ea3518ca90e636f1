"""Small files of SYNTHETIC beats in the layout of the public heartbeat files, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monai_ima.data.ecg_phantom import ecg_phantom


def write_beats(folder: Path, train_per_class: int = 6, test_per_class: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate({"train": train_per_class, "test": test_per_class}.items()):
        rng = np.random.default_rng(seed)
        rows = [[*ecg_phantom(label, rng), label] for label in np.tile(np.arange(5), count).tolist()]
        np.savetxt(folder / f"mitbih_{split}.csv", rows, delimiter=",", fmt="%.6f")
    return folder
