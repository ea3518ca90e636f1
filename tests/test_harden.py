"""``python -m monai_ima harden``: bundles in the styles of the wild are hardened, checked and trained."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fire
import pytest
import torch
from conftest import REPO
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import init_bundle, run
from monai.networks.nets import UNet
from wild_bundles import CPU, STYLES, several_processes, write, write_pictures

from monai_ima.__main__ import main
from monai_ima.bundle.check import _inside
from monai_ima.bundle.parts import find_parts
from monai_ima.bundle.reading import read_training_config
from monai_ima.handlers import IMAHandler, RobustValidation

QUICK = ["--steps", "2", "--margin_steps", "2", "--binary_steps", "3", "--val_steps", "2"]
TOLD = {"no_validation": ["--task", "segmentation", "--sigmoid", "True"]}


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def harden(root: Path, *arguments: object) -> int:
    return main(["harden", "--bundle", str(root), *map(str, arguments)])


def build(root: Path, *files: str, **overrides) -> ConfigWorkflow:
    listed = [str(root / "configs" / file) for file in files]
    workflow = ConfigWorkflow(listed, logging_file=False, bundle_root=str(root), **overrides)
    workflow.initialize()
    return workflow


def train(root: Path, *files: str, **overrides) -> ConfigWorkflow:
    with _inside(root):
        workflow = build(root, *files, **overrides)
        workflow.run_id = find_parts(read_training_config(root, files[0])).run_id
        workflow.run()
    return workflow


def config_of(root: Path) -> str:
    return next(name for name in ("train.json", "train.yaml") if (root / "configs" / name).is_file())


@pytest.mark.parametrize("style", STYLES)
def test_a_bundle_of_the_wild_is_hardened_checked_and_trained(style, tmp_path, capsys):
    root = tmp_path / style
    STYLES[style](root)
    before = fingerprint(root)
    assert harden(root, "--check", *QUICK, *TOLD.get(style, [])) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "this runs the code of" in shown
    assert "2 iterations trained" in shown
    assert ("one batch validated under attack" in shown) == (style != "no_validation")
    after = fingerprint(root)
    overlay = after.pop("configs/train_ima.json")
    assert overlay
    assert after == before, "the check leaves nothing behind, harden one file"
    workflow = train(root, config_of(root), "train_ima.json")
    handler = workflow.parser.get_parsed_content("harden#handler")
    after = fingerprint(root)
    assert {name: after[name] for name in before} == before
    margins = torch.load(root / "models" / "model_ima_last.pt", weights_only=True)["margins"]
    assert margins["ids"] == handler.margins.ids()
    expected = {
        "zoo_classification": [f"{k % 2}_{k}.npy" for k in range(8)],
        "zoo_segmentation": ["image0.npy", "image1.npy"],
        "template": ["image0.npy", "image1.npy", "image2.npy"],
        "channels": [f"image{k}.npy" for k in range(4)],
        "deep_supervision": [f"image{k}.npy" for k in range(4)],
        "own_code": [f"{k % 2}_{k}.npy" for k in range(8)],
        "multi_label": [f"{k:06d}" for k in range(8)],
        "no_validation": [f"image{k}.npy" for k in range(4)],
    }[style]
    assert sorted(Path(name).name for name in margins["ids"]) == sorted(expected)
    if style == "no_validation":
        assert not (root / "models" / "model_ima.pt").exists()
    else:
        validation = workflow.parser.get_parsed_content("harden#validation")
        assert validation.best is not None
        kept = torch.load(root / "models" / "model_ima.pt", weights_only=True)
        network = workflow.parser.get_parsed_content(find_parts(read_training_config(root)).trainer.id).network
        assert kept.keys() == network.state_dict().keys()
        assert torch.load(root / "models" / "model_ima_margins.pt", weights_only=True)["margins"]["eps_max"] > 0
