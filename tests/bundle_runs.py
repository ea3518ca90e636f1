"""Runs of the bundles, in this process and from the command line, for the tests."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from conftest import REPO, run_module, run_torchrun
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

IMAGES: dict[str, Any] = {"phantom_per_class": {"train": 4, "val": 2, "test": 3}}
SMALL: dict[str, dict[str, Any]] = {
    "oct": {
        "image_size": 48,
        "phantom_per_class": {"train": 6, "val": 3, "test": 4},
        "network_def#channels": [4, 8, 8, 8],
        "network_def#blocks": [1, 1, 1, 1],
    },
    "image": {
        "image_size": 40,
        "phantom_per_class": {"train": 4, "val": 2, "test": 3},
        "network_def#channels": [4, 8, 8, 8],
    },
    "ecg": {"phantom_beats": {"train": 60, "val": 15, "test": 40}},
    "fashion_mnist": IMAGES,
    "svhn": IMAGES,
    "cifar10": {**IMAGES, "network_def#depth": 10, "network_def#widen_factor": 1},
}
"""Small SYNTHETIC data and networks, by the bundle's name without ``_classification``."""

QUICK_IMAGES = {"epochs": 1, "batch_size": 16, "steps": 2, "margin_steps": 2, "val_steps": 2}
QUICK = {
    "oct": {"epochs": 2, "batch_size": 8, "steps": 3, "margin_steps": 3, "update_interval": 1, "val_steps": 2},
    "image": {"epochs": 2, "batch_size": 8, "steps": 2, "margin_steps": 2, "update_interval": 1, "val_steps": 2},
    "ecg": {"epochs": 2, "batch_size": 32, "steps": 3, "margin_steps": 3, "val_steps": 2},
    "fashion_mnist": QUICK_IMAGES,
    "svhn": QUICK_IMAGES,
    "cifar10": {**QUICK_IMAGES, "plain_epochs": 1},
}
"""A short training of each."""


def bundle_of(name: str) -> Path:
    """The folder of a shipped bundle, such as "oct_classification"."""
    return REPO / "bundles" / f"{name}_ima"


def copy_bundle(name: str, folder: Path) -> Path:
    """A copy of a bundle without weights."""
    return shutil.copytree(bundle_of(name), folder, ignore=shutil.ignore_patterns("*.pt", "eval"))


def open_config(root: Path, files: Sequence[str], out: Path, **settings: object) -> ConfigWorkflow:
    """Configs of a bundle, of a training if the first is train.json, that write to a folder only."""
    kind = "train" if files[0] == "train.json" else "infer"
    return ConfigWorkflow(
        config_file=[str(root / "configs" / file) for file in files],
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(root),
        output_dir=str(out),
        **{**({"ckpt_dir": str(out / "models")} if kind == "train" else {}), **settings},
    )


def open_small(name: str, files: Sequence[str], out: Path, **settings: object) -> ConfigWorkflow:
    """Configs of a classification bundle with small data and network; a training is short."""
    quick = QUICK[name] if files[0] == "train.json" else {}
    return open_config(bundle_of(f"{name}_classification"), files, out, **{**SMALL[name], **quick, **settings})


def run_config(built: ConfigWorkflow) -> ConfigWorkflow:
    """Initialise and run."""
    built.initialize()
    built.run()
    return built


def run_small(*args: Any, **settings: object) -> ConfigWorkflow:
    """Open with :func:`open_small`, initialise and run."""
    return run_config(open_small(*args, **settings))


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings as options of a command line."""
    return [part for key, value in settings.items() for part in (f"--{key}", json.dumps(value))]


def monai_bundle(verb: str, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle``"""
    return run_module("monai.bundle", verb, *arguments, *options(settings))


def run_bundle(root: Path, *files: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """``python -m monai.bundle run`` with configs of a bundle; it must succeed."""
    configs = [str(root / "configs" / file) for file in files]
    done = monai_bundle("run", "--config_file", configs, bundle_root=str(root), **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def run_two_processes(root: Path, out: Path, port: int, **settings: object) -> dict[str, Any]:
    """Train in two processes that share one margin table; returns the last checkpoint, which holds it."""
    places = {"bundle_root": str(root), "output_dir": str(out / "eval"), "ckpt_dir": str(out / "models")}
    files = [str(root / "configs" / name) for name in ("train.json", "multi_gpu_train.json")]
    done = run_torchrun(port, REPO / "tests" / "ddp_margins.py", json.dumps([files, {**places, **settings}, str(out)]))
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((out / f"rank{k}.json").read_text()) for k in range(2))
    assert first == second
    saved = load(out / "models" / "model_last.pt")
    assert dict(zip(saved["margins"]["ids"], saved["margins"]["margins"].tolist(), strict=True)) == first
    return saved


def verify_and_export(root: Path, file: Path, checkpoint: Path, **settings: object) -> torch.jit.ScriptModule:
    """MONAI verifies a bundle's network, and exports the one of the settings with a checkpoint's weights."""
    files = {"meta_file": str(root / "configs" / "metadata.json"), "config_file": str(root / "configs" / "train.json")}
    verify_net_in_out("network_def", device="cpu", **files)
    ckpt_export("network_def", filepath=str(file), ckpt_file=str(checkpoint), **files, **settings)
    return torch.jit.load(file)


def load(file: Path) -> dict[str, Any]:
    """What a checkpoint holds."""
    return torch.load(file, weights_only=True)


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with open(file, newline="") as content:
        return list(csv.DictReader(content))


def read_metrics(file: Path) -> dict[str, float]:
    """Names and values of a metrics.csv."""
    with open(file, newline="") as content:
        return {row[0]: float(row[1]) for row in csv.reader(content) if len(row) == 2}
