"""Options of an evaluation of files that a network or the folders refuse: one sentence before work, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bad_input_files import snapshot
from model_files import Brightness, write_pictures, write_scans
from PIL import Image
from torch import nn

from monai_ima.__main__ import main

TABLE = {"model": "bright.ts", "images": "pictures", "labels": "pictures/labels.csv"}
LOGIT = {**TABLE, "model": "logit.ts"}
MAPS = {"model": "maps.ts", "images": "grey", "labels": "masks"}
SCANS = {"model": "scans.ts", "images": "scans/scans", "labels": "scans/masks"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("written")
    write_pictures(root / "pictures", count=2)
    networks: dict[str, nn.Module] = {
        "bright": Brightness(),
        "logit": nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(0)),
        "maps": nn.Conv2d(1, 1, 1),
        "smaller": nn.Conv2d(1, 2, 3),
        "scans": nn.Conv3d(1, 2, 1),
    }
    for name, network in networks.items():
        torch.jit.script(network).save(root / f"{name}.ts")
    for folder in ("grey", "masks"):
        (root / folder).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(root / folder / "a.png")
    (scans, _) = write_scans(root / "scans", count=1)
    old: Any = nib.load(scans / "case0.nii.gz")
    values = np.array(old.dataobj)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, old.affine), scans / "case0.nii.gz")
    for split in ("train", "test"):
        for name in ("bright", "dark"):
            (root / "splits" / split / name).mkdir(parents=True)
            shutil.copy(root / "pictures" / "p0.png", root / "splits" / split / name)
    shutil.copytree(root / "pictures", root / "p#q")
    shutil.copy(root / "bright.ts", root / "bright#2.ts")
    return root


@pytest.fixture
def folder(written, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(shutil.copytree(written, tmp_path / "work"))


@pytest.mark.parametrize(
    ("options", "flags", "words"),
    [
        (LOGIT, ["--no_sigmoid"], "a single output: expected no --no_sigmoid"),
        (MAPS, ["--no_sigmoid"], "a single output: expected no --no_sigmoid"),
        (TABLE, ["--sigmoid"], "each image has one class: expected no --sigmoid"),
        ({**TABLE, "task": "multi-label"}, [], "expected none, or --task classification"),
        ({**LOGIT, "task": "classification"}, [], "expected none, or --task multi-label"),
        ({**MAPS, "task": "classification"}, [], "expected none, or --task segmentation"),
        ({**TABLE, "channels": "1"}, [], "Got channels 1, but image 'p0.png' has 1: expected some of 0 to 0"),
        (SCANS, [], "case0.nii.gz holds NaN or infinity"),
        ({**MAPS, "model": "smaller.ts"}, [], "or --window for a network that keeps only some sizes"),
        ({**LOGIT, "ignore_index": "0", "save_bundle": "b"}, [], "--ignore_index cannot be kept for a single output"),
        ({"model": "bright.ts", "images": "splits"}, [], "give --images splits/test"),
        ({**TABLE, "images": "p#q"}, [], "expected a path without #"),
        ({**TABLE, "labels": "p#q/labels.csv"}, [], "expected a path without #"),
        ({**TABLE, "model": "bright#2.ts"}, [], "expected a path without #"),
        ({**TABLE, "save_bundle": "b#2"}, [], "expected a path without #"),
        ({**TABLE, "save_bundle": "out"}, [], "--save_bundle out and --out out are one folder or lie in each other"),
        ({**TABLE, "save_bundle": "out/bundle"}, [], "expected a folder of its own as --save_bundle"),
        ({**TABLE, "save_bundle": "pictures/bundle"}, [], "expected a folder of its own as --save_bundle"),
        ({**MAPS, "save_bundle": "masks/bundle"}, [], "expected a folder of its own as --save_bundle"),
        ({**TABLE, "out": "bundle/out", "save_bundle": "bundle"}, [], "expected a folder of its own as --save_bundle"),
        ({**TABLE, "out": "pictures/out"}, [], "expected a folder of its own as --out"),
        ({**MAPS, "out": "masks/out"}, [], "expected a folder of its own as --out"),
    ],
)
def test_options_are_refused_before_work(options, flags, words, folder, capsys):
    before = snapshot(Path())
    given = {"out": "out", "levels": "0.1", **options}
    assert main(["evaluate", *(f"--{name}={value}" for name, value in given.items()), *flags]) == 2
    captured = capsys.readouterr()
    assert words in captured.err.splitlines()[-1]
    assert captured.err.endswith(".\n")
    assert not captured.out
    assert snapshot(Path()) == before


@pytest.mark.parametrize(("scale", "said"), [([], True), (["--scale", "0:255"], False), (["--bounds", "0,255"], False)])
def test_an_attack_without_bounds_is_said_to_have_none(scale, said, folder, capsys):
    given = {"out": "out", "levels": "0.1", "attack": "pgd2", **TABLE}
    assert main(["evaluate", *(f"--{name}={value}" for name, value in given.items()), *scale]) == 0
    assert ("The attack has no bounds" in capsys.readouterr().out) == said
