"""Bad input of an evaluation of files: one sentence, exit code 2, before the work starts, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bad_input_files import snapshot
from bundle_runs import bundle_of
from model_files import UNET, Brightness, WithoutGradient, write_pictures, write_scans
from monai.networks.nets import UNet
from PIL import Image

from monai_ima.__main__ import main

NETWORK = {"network": "monai.networks.nets.UNet", "network_args": json.dumps(UNET)}
SCANS = {"images": "scans", "labels": "masks", "levels": "0.1", "out": "out", "save_bundle": "bundle"}
PT = {"model": "unet.pt", **NETWORK, **SCANS}
TS = {"model": "unet.ts", **SCANS}
PICTURES = {"model": "bright.ts", "images": "pictures", "labels": "pictures/labels.csv", "levels": "0.1", "out": "out"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("written")
    write_scans(root, count=2)
    write_pictures(root / "pictures", count=2)
    network = UNet(**UNET).eval()
    torch.save(network.state_dict(), root / "unet.pt")
    torch.save({"other": 1}, root / "numbers.pt")
    (root / "text.pt").write_text("no model")
    torch.jit.script(network).save(root / "unet.ts")
    torch.jit.freeze(torch.jit.script(network)).save(root / "frozen.ts")
    torch.jit.script(Brightness()).save(root / "bright.ts")
    torch.jit.script(WithoutGradient().eval()).save(root / "blocked.ts")
    return root


@pytest.fixture
def folder(written, tmp_path, monkeypatch) -> Path:
    """A copy of all that, where the verb runs."""
    monkeypatch.chdir(shutil.copytree(written, tmp_path / "work"))
    return Path()


def refused(options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence that options are refused with; nothing is left behind."""
    before = snapshot(Path())
    capsys.readouterr()
    assert main(["evaluate", *(word for name, value in options.items() for word in (f"--{name}", value))]) == 2
    error = capsys.readouterr().err
    assert snapshot(Path()) == before
    last = error.splitlines()[-1]
    assert last.endswith("."), error
    assert "expected" in last, error
    return last


def args(**changed: object) -> str:
    return json.dumps({**UNET, **changed})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**PT, "network": "monai.networks.nets.UNett"}, "expected monai.networks.nets.UNet"),
        ({**PT, "network": "monai.nets.UNet"}, "monai.nets"),
        ({**PT, "network": "monai.networks.nets"}, "Unknown network"),
        ({**PT, "network_args": '{"spatial_dims": 3, "in_channels": 1}'}, "lacks out_channels, channels, strides"),
        ({**PT, "network_args": args(chanels=[1])}, "has no argument 'chanels', expected channels"),
        ({**PT, "network_args": args(strides=[])}, "cannot be built"),
        ({**PT, "network_args": "3"}, "network_args"),
        (
            {**PT, "network_args": args(out_channels=3)},
            "model.2.conv.bias is of shape (2,) there, expected of shape (3,)",
        ),
        ({**PT, "network_args": args(channels=[4, 8, 8], strides=[2, 2])}, "unet.pt is of another network: model."),
        ({**PT, "model": "numbers.pt"}, "numbers.pt holds no network weights"),
        ({**PT, "model": "text.pt"}, "text.pt is no checkpoint"),
        ({**TS, "model": "text.pt"}, "text.pt is no checkpoint"),
        ({**TS, "model": "none.ts"}, "none.ts does not exist"),
        ({**TS, "model": "unet.pt"}, "the class of its network as --network"),
        ({**TS, **NETWORK}, "unet.ts is TorchScript, which holds its network, expected no --network"),
        ({**TS, "model": "frozen.ts"}, "frozen"),
        ({**TS, "bundle": "bundle"}, "Options --bundle and --model exclude each other"),
        ({**TS, "checkpoint": "unet.pt"}, "Options --checkpoint and --model exclude each other"),
        ({**TS, "dataset_dir": "."}, "Unknown option --dataset_dir"),
        (
            {"bundle": str(bundle_of("oct_classification")), "levels": "0.1", "window": "8,8,8"},
            "Option --window is for --model",
        ),
        ({"levels": "0.1"}, "Option --bundle is missing, expected a value for it, or --model"),
        ({"model": "unet.ts", "levels": "0.1", "out": "out"}, "Option --images is missing"),
        ({"model": "unet.ts", "levels": "0.1", "images": "scans", "labels": "masks"}, "Option --out is missing"),
        ({**TS, "spacing": "1,1"}, "Got spacing 1,1, expected 3 numbers"),
        ({**TS, "spacing": "0,1,1"}, "spacing"),
        ({**TS, "window": "8,8"}, "Got window 8,8, expected 3 numbers"),
        ({**TS, "window": "8,8,1.5"}, "window"),
        ({**TS, "scale": "1:0"}, "Got scale '1:0', expected zscore, minmax or two numbers"),
        ({**TS, "scale": "max"}, "Got scale 'max'"),
        ({**TS, "orientation": "RAX"}, "Got orientation 'RAX'"),
        ({**TS, "task": "classification"}, "Got task classification"),
        ({**TS, "images": "none"}, "Folder"),
        ({**TS, "labels": "scans"}, "expected two folders"),
        ({**TS, "labels": "pictures"}, "No image in"),
        ({**TS, "model": "bright.ts"}, "expected maps of the same size"),
        ({**PICTURES, "model": "unet.ts"}, "unet.ts does not take image 'p0.png' of shape [1, 6, 8]"),
        ({**PICTURES, "model": "blocked.ts"}, "blocked.ts gives no gradient with respect to its image (none at all)"),
        ({**PICTURES, "spacing": "1,1"}, "Option --spacing is for volumes"),
        ({**TS, "classes": "a,b"}, "Option --classes is for a classifier"),
        ({**PICTURES, "window": "4,4"}, "Option --window is for label maps"),
        ({**PICTURES, "labels": "none.csv"}, "none.csv does not exist"),
        ({**TS, "units": "raw"}, "--units network"),
    ],
)
def test_options_are_refused_in_one_sentence(options, words, folder, capsys):
    assert words in refused(options, capsys)


def label(change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> Callable[[], None]:
    """Change the label of case1."""

    def changed() -> None:
        old: Any = nib.load("masks/case1.nii.gz")
        values = change(np.asarray(old.dataobj))
        nib.save(nib.Nifti1Image(values, old.affine if affine is None else affine), "masks/case1.nii.gz")

    return changed


def move(source: str, target: str) -> Callable[[], object]:
    return lambda: Path(source).rename(target)


def table(text: str) -> Callable[[], object]:
    return lambda: Path("pictures/labels.csv").write_text(text)


def flat_image() -> None:
    for name in ("scans/flat.nii.gz", "masks/flat.nii.gz"):
        nib.save(nib.Nifti1Image(np.zeros((12, 12), np.float32), np.eye(4)), name)


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        (TS, move("masks/case1.nii.gz", "masks/hidden"), "have no label in"),
        (TS, move("scans/case1.nii.gz", "scans/hidden"), "have no image in"),
        (TS, lambda: shutil.copy("scans/case1.nii.gz", "scans/case1.nii") and None, "have one name"),
        (TS, label(lambda values: values[:-1]), "has shape (11, 12, 12), expected (12, 12, 12) as its image"),
        (TS, label(lambda values: values, np.diag([2, 1, 3, 1])), "(row 2, column 2 differs by 2)"),
        (TS, label(lambda values: values * 2), "holds the value 2, but model unet.ts has 2 output(s)"),
        (TS, label(lambda values: values / np.float32(2)), "holds the value 0.5"),
        (TS, flat_image, "flat.nii.gz is 2-D and"),
        (TS, lambda: Path("scans/case0.nii.gz").write_bytes(b"x"), "expected a whole .nii.gz file"),
        (PICTURES, table("image,label\np0.png,a\np1.png,b\np0.png,a\n"), "p0.png 2 times, expected each image once"),
        (PICTURES, table("image,label\np0.png,a\np7.png,b\n"), "p7.png, which does not exist"),
        (PICTURES, table("image,label\np0.png,0\np1.png,2\n"), "have 3 classes, but model bright.ts has 2 output(s)"),
        (PICTURES, table("image,class\np0.png,0\n"), "has no column label"),
        (PICTURES, table("image,label\np0.png,\n"), "has no label"),
        (PICTURES, lambda: Image.new("I;16", (8, 6)).save("pictures/p1.png"), "more than 8 bits a pixel"),
    ],
)
def test_files_are_refused_in_one_sentence(options, change, words, folder, capsys):
    change()
    assert words in refused(options, capsys)


def test_a_package_that_is_missing_is_named(folder, capsys, monkeypatch):
    monkeypatch.setattr("monai_ima.data.headers.find_spec", lambda name: None)
    for path in ("scans", "masks"):
        (Path(path) / "case0.nii.gz").rename(Path(path) / "case0.mha")
    assert main(["evaluate", *(word for name, value in TS.items() for word in (f"--{name}", value))]) == 2
    assert capsys.readouterr().err.endswith("case0.mha with the package itk, expected it to be installed.\n")


def test_an_attack_that_needs_no_gradient_is_made_without_one(folder):
    options = {**PICTURES, "model": "blocked.ts", "attack": "spsa2x4", "scale": "0:255"}
    assert main(["evaluate", *(word for name, value in options.items() for word in (f"--{name}", value))]) == 0
    assert Path("out/results.json").is_file()


def test_a_folder_with_something_else_is_no_place_for_a_bundle(folder, capsys):
    Path("bundle").mkdir()
    Path("bundle/notes.txt").write_text("mine")
    assert "expected a new folder" in refused(TS, capsys)
