"""The bundle image_classification_ima on pictures of the user's own, through MONAI's own tools."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import (
    SMALL,
    bundle_of,
    load,
    open_config,
    options,
    read_rows,
    run_config,
    run_small,
    verify_and_export,
)
from conftest import REPO
from monai.bundle import ckpt_export
from small_image_files import write_pictures, write_table
from test_networks import parameters

from monai_ima.__main__ import main
from monai_ima.networks import ResNet2d
from monai_ima.utils.errors import root_cause

BUNDLE = bundle_of("image_classification")
NAMES = [f"{c}/{c}{k}_{n}.png" for c in ("healthy", "scar") for k in range(8) for n in range(2)]
PATTERN = "^([a-z]+[0-9]+)_"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """Pictures in class folders, and what a short training on them left."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("image")
    data = write_pictures(root / "data", NAMES, 40)
    own = {"dataset_dir": str(data), "patient_pattern": PATTERN, "delta": 0.02, "learning_rate": 0.02}
    run_small("image", ["train.json"], root / "run", **own)
    return data, root / "run" / "models"


def refusal(tmp_path, *files, **settings) -> str:
    """The sentence with which a config of the bundle is refused."""
    workflow = open_config(BUNDLE, files or ["train.json"], tmp_path / "refused", **{**SMALL["image"], **settings})
    with pytest.raises((RuntimeError, ValueError, OSError)) as refused:
        run_config(workflow)
    assert not list((tmp_path / "refused").rglob("*.pt"))
    return str(root_cause(refused.value))


def test_the_bundle_is_complete():
    roots = (bundle_of("oct_classification"), BUNDLE)
    configs = [{path.name for path in (root / "configs").iterdir()} for root in roots]
    assert configs[0] == configs[1]
    assert (BUNDLE / "LICENSE").read_text() == (REPO / "LICENSE").read_text()
    assert (BUNDLE / "docs" / "README.md").is_file()


def test_evaluation_measures_the_split_and_classes_that_training_kept(trained, tmp_path, capsys):
    data, models = trained
    split = json.loads((models / "split.json").read_text())
    patients = {name: {Path(file).name.split("_")[0] for file in own} for name, own in split.items()}
    assert sum(map(len, patients.values())) == 16
    assert load(models / "model_last.pt")["margins"]["ids"] == split["train"]
    command = ["evaluate", "--bundle", BUNDLE, "--levels", "0,0.02", "--attack", "pgd2", "--out", tmp_path / "out"]
    command += ["--cases", 2]
    command += ["--checkpoint", models / "model.pt", *options(SMALL["image"])]
    own = ["--dataset_dir", data, "--patient_pattern", PATTERN, "--seed", "7"]
    assert main(list(map(str, [*command, *own]))) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [sample["sample_id"] for sample in results["samples"]] == split["test"]
    assert results["classes"] == ["healthy", "scar"]
    assert (results["data"]["patients"], results["data"]["synthetic"]) == (len(patients["test"]), False)


def test_inference_takes_a_folder_of_pictures_and_nifti(trained, tmp_path):
    _, models = trained
    folder = write_pictures(tmp_path / "new", ["a.png", "deep/b.png"], 50)
    nibabel.Nifti1Image(np.zeros((44, 48), np.uint8), np.eye(4)).to_filename(folder / "c.nii.gz")
    own = {"dataset_dir": str(folder), "ckpt_path": str(models / "model.pt"), "intensity_range": [0, 255]}
    run_small("image", ["inference.json"], tmp_path, **own)
    rows = read_rows(tmp_path / "predictions.csv")
    assert [row["sample_id"] for row in rows] == ["a.png", "c.nii.gz", "deep/b.png"]
    assert {row["predicted"] for row in rows} <= {"healthy", "scar"}


def test_monai_verifies_the_network_and_exports_it_with_its_own_classes(trained, tmp_path):
    _, models = trained
    files = {"meta_file": str(BUNDLE / "configs" / "metadata.json"), "bundle_root": str(BUNDLE)}
    weights = {"ckpt_file": str(models / "model.pt"), "ckpt_path": str(models / "model.pt")}
    small = {"network_def#channels": SMALL["image"]["network_def#channels"]}
    config = str(BUNDLE / "configs" / "evaluate.json")
    ckpt_export("network_def", filepath=str(tmp_path / "a.ts"), config_file=config, **files, **weights, **small)
    image = torch.rand(2, 1, 40, 40)
    network = ResNet2d(num_classes=2, channels=(4, 8, 8, 8))
    network.load_state_dict(load(models / "model.pt"))
    assert torch.allclose(torch.jit.load(tmp_path / "a.ts")(image), network.eval()(image), atol=1e-6)
    torch.save(ResNet2d(num_classes=4).state_dict(), tmp_path / "four.pt")
    assert verify_and_export(BUNDLE, tmp_path / "b.ts", tmp_path / "four.pt")(image).shape == (2, 4)


def test_training_starts_from_the_weights_of_a_checkpoint(trained, tmp_path):
    data, models = trained
    own = {"dataset_dir": str(data), "epochs": 1, "learning_rate": 0}
    run_small("image", ["train.json"], tmp_path, pretrained=str(models / "model.pt"), **own)
    start, end = load(models / "model.pt"), load(tmp_path / "models" / "model_last.pt")["model"]
    assert all(torch.equal(value, end[key]) for key, value in start.items())
    own |= {"epochs": 2, "resume": "last", "pretrained": str(tmp_path / "models" / "other.pt")}
    torch.save(ResNet2d(num_classes=2, channels=(4, 8, 8, 8)).state_dict(), own["pretrained"])
    run_small("image", ["train.json"], tmp_path, **own)
    resumed = load(tmp_path / "models" / "model_last.pt")["model"]
    assert all(torch.equal(value, resumed[key]) for key, value in start.items()), "a resumed run keeps what it had"


def test_weights_of_another_network_are_refused_by_the_first_key_that_differs(trained, tmp_path):
    data, _ = trained
    torch.save(ResNet2d(18, "batch", 3, 2, (4, 8, 8, 8)).state_dict(), tmp_path / "other.pt")
    own = {"dataset_dir": str(data), "pretrained": str(tmp_path / "other.pt")}
    extra = "resnet.bn1.num_batches_tracked is not in the network, expected only names such as resnet.bn1.bias"
    assert refusal(tmp_path, **own).startswith(f"Checkpoint {tmp_path / 'other.pt'} is of another network: {extra}")
    colour = refusal(tmp_path, **own, normalisation="batch")
    assert "resnet.conv1.weight is of shape (4, 3, 7, 7) there, expected of shape (4, 1, 7, 7)" in colour
    assert "none.pt does not exist" in refusal(tmp_path, dataset_dir=str(data), pretrained="none.pt")


def test_what_cannot_be_trained_on_is_refused_before_training(tmp_path):
    data = write_pictures(tmp_path / "data", NAMES, 40)
    table = write_table(tmp_path / "t.csv", [("a.png", "x")], ("image", "class"))
    assert refusal(tmp_path, dataset_dir=str(table)).startswith(f"File {table} has no column label")
    assert "Got depth 34, expected one of 18, 50" in refusal(tmp_path, dataset_dir=str(data), depth=34)
    assert "Got channels 2, expected 1 (grey) or 3" in refusal(tmp_path, dataset_dir=str(data), channels=2)
    nibabel.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4)).to_filename(data / "scar" / "v.nii")
    assert "v.nii holds a volume of shape (9, 9, 9), expected a 2-D image" in refusal(tmp_path, dataset_dir=str(data))


def test_harden_takes_its_plain_training(tmp_path, capsys):
    arguments = ["harden", str(BUNDLE), "--config", "train.json,train_ce.json", "--method", "pgd", "--dry_run"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert "classification" in capsys.readouterr().out


@pytest.mark.parametrize(("depth", "count"), [(18, 11689512), (50, 25557032)])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_networks_have_the_published_size_and_one_normalisation(depth, count, norm):
    """Sizes: torchvision's documentation of resnet18 and resnet50, three channels and a thousand classes."""
    network = ResNet2d(depth, norm, 3, 1000)
    assert parameters(network) == count
    kinds = {type(layer).__name__ for layer in network.modules() if "Norm" in type(layer).__name__}
    assert kinds == {"InstanceNorm2d" if norm == "instance" else "BatchNorm2d"}
    strides = [layer.stride for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert strides[0] == (2, 2)


def test_instance_normalisation_refuses_images_of_which_one_pixel_is_left():
    for norm in ("instance", "batch"):
        network = ResNet2d(18, norm, channels=(4, 4, 4, 4)).eval()
        if norm == "batch":
            assert network(torch.rand(2, 1, 32, 32)).shape == (2, 2)
        else:
            with pytest.raises(ValueError, match="32 x 32 pixels, expected a side longer than 32"):
                network(torch.rand(2, 1, 32, 32))
