"""The benchmark on the model zoo, on a bundle made here."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import model_zoo
from model_zoo_copy import make_copy, read_config
from model_zoo_data import make_data

TRAINING = {
    "dataset_dir": "/data",
    "data_list": "/data/list.json",
    "images": "$sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz'))[:-9]",
    "weights": "$torch.load('w.pt', map_location=torch.device('cuda'))",
    "epochs": 300,
    "network_def": {"_target_": "UNet", "out_channels": 3, "channels": [16, 32, 64], "strides": [2, 2]},
    "train": {
        "transforms": [
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164},
            {"_target_": "RandCropByPosNegLabeld", "keys": ["image"], "spatial_size": [96, 96, 16], "num_samples": 4},
        ],
        "dataloader": {"_target_": "DataLoader", "batch_size": 8, "num_workers": 4},
        "trainer": {"_target_": "SupervisedTrainer", "max_epochs": "@epochs", "amp": True},
    },
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo" / "models" / "small"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "train.json").write_text(json.dumps(TRAINING), encoding="utf-8")
    (folder / "net.py").write_text("size = 96\n", encoding="utf-8")
    return folder


def copied(source: Path, tmp_path: Path, entry: dict) -> dict:
    make_copy(source, tmp_path / "copy", entry)
    return read_config(tmp_path / "copy" / "configs" / "train.json")


def test_a_copy_is_small(source: Path, tmp_path: Path) -> None:
    config = copied(source, tmp_path, {})
    assert config["epochs"] == 1
    assert config["network_def"]["channels"] == [8, 8, 8]
    assert config["network_def"]["strides"] == [2, 2]
    assert config["train"]["transforms"][1]["spatial_size"] == [32, 32, 16]
    assert config["train"]["transforms"][1]["num_samples"] == 2
    assert config["train"]["dataloader"] == {"_target_": "DataLoader", "batch_size": 2, "num_workers": 0}
    assert config["train"]["trainer"] == {"_target_": "SupervisedTrainer", "max_epochs": 1, "amp": False}
    assert config["images"].endswith("[:-2]")
    assert "torch.device('cpu')" in config["weights"]
    assert config["dataset_dir"] == f"{tmp_path / 'copy'}/data/"


def test_the_table_sets_drops_and_edits(source: Path, tmp_path: Path) -> None:
    entry = {
        "set": {"data_list": "DATA/list.json", "train#transforms#1#num_samples": 1, "absent": 3},
        "drop": ["network_def#strides"],
        "edits": {"net.py": [["96", "32"]]},
    }
    config = copied(source, tmp_path, entry)
    assert config["data_list"] == f"{tmp_path / 'copy'}/data/list.json"
    assert config["train"]["transforms"][1]["num_samples"] == 1
    assert "absent" not in config
    assert "strides" not in config["network_def"]
    assert (tmp_path / "copy" / "net.py").read_text(encoding="utf-8") == "size = 32\n"


def test_every_class_is_in_every_label_map(tmp_path: Path) -> None:
    make_data(TRAINING, tmp_path, {"data": "folders", "spacing": [1.5, 1.5, 2.0]})
    labels = [nibabel.nifti1.load(file) for file in sorted(tmp_path.glob("labelsTr/*.nii.gz"))]
    assert len(labels) == 6
    for label in labels:
        assert set(np.unique(label.get_fdata())) == {0, 1, 2}
        assert label.header.get_zooms() == (1.5, 1.5, 2.0)
    image = nibabel.nifti1.load(tmp_path / "imagesTr" / "scan0.nii.gz").get_fdata()
    assert -57 < image.min() < image.max() < 164


def test_the_page_says_what_failed(tmp_path: Path) -> None:
    ok, accepted = {"ok": True, "text": "ok"}, {"ok": True, "text": "classification, 2 classes"}
    records = {
        "good": {"plain": ok, "harden": accepted, "hardened": ok, "evaluate": ok},
        "bad": {"plain": ok, "harden": accepted, "hardened": {"ok": False, "text": "ValueError: a | b"}},
        "alike": {
            "plain": ok,
            "harden": accepted,
            "hardened": {"ok": False, "text": "ValueError: a"},
            "evaluate": ok,
            "again": {"ok": True, "text": "5 of 6 plain trainings stop, too: ValueError: a"},
        },
        "gan": {"harden": {"ok": False, "text": "Bundle gan trains a GAN."}},
        "other": {"harden": accepted},
    }
    page = "\n".join(model_zoo.page_lines(records, tmp_path))
    assert "1 of 3 bundles pass all four." in page
    assert "| ValueError: a; 5 of 6 plain trainings stop, too: ValueError: a | ok |" in page
    assert "| good | ok | classification, 2 classes | ok | ok |" in page
    assert "| bad | ok | classification, 2 classes | ValueError: a \\| b | – |" in page
    assert "| gan | Bundle gan trains a GAN. |" in page
    assert "| other | accepted as classification, 2 classes, a refusal was expected |" in page
