"""The bundle for volumes of the user's own: MONAI's tools and ours on folders that the tests draw."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import bundle_of, copy_bundle, load, open_config, options, run_bundle, run_config
from monai.bundle import ckpt_export, verify_net_in_out
from own_volumes import folders, write_scans

from monai_ima.__main__ import main
from monai_ima.utils.errors import root_cause

BUNDLE = "volume_segmentation"
NAMES = [f"p{k // 2}_{k}" for k in range(8)]
SMALL: dict[str, dict] = {
    "UNet": {"networks#UNet#channels": [4, 8, 8, 8, 8], "networks#UNet#num_res_units": 0},
    "SegResNet": {"networks#SegResNet#init_filters": 8, "networks#SegResNet#blocks_down": [1, 1, 1, 1]},
    "DynUNet": {"networks#DynUNet#filters": [4, 8, 8, 8, 8]},
    "SwinUNETR": {"networks#SwinUNETR#feature_size": 12, "networks#SwinUNETR#depths": [1, 1, 1, 1]},
}
QUICK = {"plain_epochs": 1, "epochs": 1, "batch_size": 2, "steps": 2, "val_steps": 2, "threshold": 0.05}
PATIENTS = {"patient_pattern": "^(p[0-9])_"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Eight scans of four patients, 20 x 18 x 16 voxels of 1 x 1 x 2 mm, two classes, and dataset.json."""
    return write_scans(tmp_path_factory.mktemp("data"), NAMES, affine=np.diag([1, 1, 2, 1]))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """A copy of the bundle, SegResNet trained on the two folders for one plain and one IMA epoch."""
    root = copy_bundle(BUNDLE, tmp_path_factory.mktemp("bundle") / "volume")
    settings = {**QUICK, **folders(data), **PATIENTS, **SMALL["SegResNet"]}
    done = run_bundle(root, "train.json", network_name="SegResNet", scale="-50:450", **settings)
    assert "SYNTHETIC" not in done.stdout + done.stderr
    assert "ima/margin_mean" in done.stdout
    return root


def evaluation(data: Path) -> list[str]:
    """Options of an evaluation of the trained network."""
    return options({**folders(data), **PATIENTS, **SMALL["SegResNet"], "scale": "-50:450"})


@pytest.mark.parametrize(
    "files",
    [
        ["train.json"],
        ["train.json", "train_ce.json"],
        ["train.json", "train_pgd.json"],
        ["evaluate.json"],
        ["inference.json"],
    ],
)
def test_every_config_has_the_ids_of_the_bundle_specification(files, trained, data, tmp_path):
    own = {**SMALL["SegResNet"], "scale": "-50:450", "images": str(data / "imagesTr")}
    own |= {} if files == ["inference.json"] else {"labels": str(data / "labelsTr")}
    own |= {"network_name": "SegResNet"} if files[0] == "train.json" else {}
    own |= {} if files[0] == "train.json" else {"ckpt_path": str(trained / "models" / "model.pt")}
    built = open_config(bundle_of(BUNDLE), files, tmp_path, **own)
    built.initialize()
    assert built.check_properties() == []


def test_training_keeps_weights_margins_and_the_plan(trained):
    plan = json.loads((trained / "models" / "plan.json").read_text())
    assert plan == {
        "network": "SegResNet",
        "scale": "-50:450",
        "channels": 1,
        "class_names": ["background", "class 1", "class 2"],
        "spacing": [1, 1, 2],
        "patch_size": [16, 16, 16],
        "synthetic": False,
    }
    margins = load(trained / "models" / "model_last.pt")["margins"]
    patients = {sample_id.split("_")[0] for sample_id in margins["ids"]}
    assert len(margins["ids"]) == 4
    assert len(patients) == 2, "both scans of two of the four patients"


def test_evaluation_attack_and_report_use_the_numbers_of_the_training(trained, data, tmp_path, capsys):
    out, settings = tmp_path / "out", evaluation(data)
    command = [
        "evaluate",
        "--bundle",
        str(trained),
        "--cases",
        "2",
        "--levels",
        "0,3",
        "--norm",
        "l2",
        "--attack",
        "pgd2",
    ]
    command += ["--cases", "2"]
    assert main([*command, "--out", str(out), *settings]) == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert results["classes"] == ["class 1", "class 2"]
    assert results["dice"] == sorted(results["dice"], reverse=True)
    assert results["data"]["name"] == f"data in {data / 'imagesTr'}"
    assert (results["data"]["synthetic"], results["data"]["patients"], results["data"]["samples"]) == (False, 1, 2)
    assert results["units"] == {"name": "intensity units", "per_unit": 500}
    assert {sample["sample_id"] for sample in results["samples"]}.isdisjoint(
        load(trained / "models" / "model_last.pt")["margins"]["ids"]
    )
    assert main(["report", "--results", str(out)]) == 0
    assert "class 2" in (out / "report.html").read_text()

    attack = ["attack", "--bundle", str(trained), "--eps", "2", "--norm", "l2", "--attack", "pgd2", "--limit", "1"]
    assert main([*attack, "--out", str(tmp_path / "noisy"), *settings]) == 0, capsys.readouterr().err
    (noisy,) = (tmp_path / "noisy").glob("*_noisy.nii.gz")
    assert nibabel.Nifti1Image.from_filename(noisy).shape == (20, 18, 16)

    other = [value if name != "--scale" else "zscore" for name, value in pairwise(["", *settings])]
    assert main([*command, "--out", str(tmp_path / "none"), *other]) == 2
    assert "Got scale 'zscore', expected -50:450, with which" in capsys.readouterr().err.splitlines()[-1]


def test_inference_writes_labels_on_the_grid_of_the_scans(trained, data, tmp_path):
    own = {"images": str(data / "imagesTr"), "scale": "-50:450", "ckpt_path": str(trained / "models" / "model.pt")}
    run_config(open_config(bundle_of(BUNDLE), ["inference.json"], tmp_path, **own, **SMALL["SegResNet"]))
    saved = sorted(tmp_path.glob("*_seg.nii.gz"))
    assert [file.name for file in saved] == sorted(f"{name}_seg.nii.gz" for name in NAMES)
    image = nibabel.Nifti1Image.from_filename(saved[0])
    assert image.shape == (20, 18, 16)
    np.testing.assert_allclose(image.affine, np.diag([1, 1, 2, 1]), atol=1e-4)
    assert set(np.unique(np.asarray(image.dataobj))) <= {0, 1, 2}


def test_monai_verifies_and_exports_the_network_without_data(trained, tmp_path):
    files = {"meta_file": str(trained / "configs" / "metadata.json")}
    files["config_file"] = str(trained / "configs" / "inference.json")
    settings = {**SMALL["SegResNet"], "scale": "-50:450", "bundle_root": str(trained)}
    verify_net_in_out("network_def", device="cpu", **files, **settings)
    weights = trained / "models" / "model.pt"
    ckpt_export("network_def", filepath=str(tmp_path / "m.ts"), ckpt_file=str(weights), **files, **settings)
    image = torch.randn(1, 1, 16, 16, 16)
    built = open_config(trained, ["inference.json"], tmp_path, **{k: v for k, v in settings.items() if "root" not in k})
    network = built.parser.get_parsed_content("network_def")
    network.load_state_dict(load(weights))
    torch.testing.assert_close(torch.jit.load(tmp_path / "m.ts")(image), network.eval()(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "window"), [("UNet", (32, 16, 16)), ("DynUNet", (32, 16, 16)), ("SwinUNETR", (64, 32, 32))]
)
def test_the_other_networks_take_the_window_that_is_chosen_forward_and_backward(name, window, data, tmp_path):
    if name == "SwinUNETR":
        pytest.importorskip("einops")
    settings = {"dataset_dir": str(data), "network_name": name, **SMALL[name]}
    parser = open_config(bundle_of(BUNDLE), ["train.json"], tmp_path, **settings).parser
    plan, network = parser.get_parsed_content("plan"), parser.get_parsed_content("network_def")
    assert (type(network).__name__, plan.patch_size) == (name, window)
    assert plan.class_names == ["background", "liver", "spleen"], "those of dataset.json"
    image = torch.randn(1, 1, *window, requires_grad=True)
    output = network(image)
    assert output.shape == (1, 3, *window)
    output.square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_the_plain_training_is_hardened_with_the_users_data(trained, data, tmp_path, capsys):
    root = shutil.copytree(trained, tmp_path / "copy", ignore=shutil.ignore_patterns("eval", "models"))
    harden = ["harden", "--bundle", str(root), "--config", "train.json,train_ce.json", "--norm", "l2", "--check"]
    settings = {**folders(data), **SMALL["SegResNet"], "network_name": "SegResNet", "batch_size": 2}
    assert main([*harden, *options(settings)]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "one unit is one standard deviation of each channel of each image" in shown
    assert (root / "configs" / "train_ima.json").is_file()


def test_without_data_the_volumes_are_synthetic_and_the_log_says_so(tmp_path, caplog):
    small = {"phantom_scans": 4, "phantom_size": [16, 16, 16], **SMALL["UNet"]}
    built = open_config(bundle_of(BUNDLE), ["train.json"], tmp_path, **small)
    assert len(built.parser.get_parsed_content("datalist")["train"]) == 2
    assert "these are SYNTHETIC scans" in caplog.text
    assert built.parser.get_parsed_content("synthetic") is True


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"network_name": "UNett"}, "Unknown network 'UNett', expected .* (the nearest is UNet)."),
        ({"patch_size": [16, 16, 16]}, "Got patch_size 16x16x16, expected multiples of 16 for UNet, along one axis 32"),
        ({"scale": "hu"}, "Got scale 'hu', expected zscore, minmax or two numbers in rising order"),
        ({"labels": None}, "Got images, expected images and labels, or dataset_dir alone."),
    ],
)
def test_a_bad_setting_stops_the_training_before_anything_is_written(settings, sentence, data, tmp_path):
    built = open_config(bundle_of(BUNDLE), ["train.json"], tmp_path / "out", **{**folders(data), **settings})
    with pytest.raises(RuntimeError) as error:
        built.initialize()
    assert re.match(re.sub(r"([()])", r"\\\1", sentence), str(root_cause(error.value)))
    assert not (tmp_path / "out").exists()


def test_a_label_that_is_no_class_ends_an_evaluation_in_one_sentence(trained, data, tmp_path, capsys):
    other = write_scans(tmp_path / "data", ["a", "b", "c"], values=(1, 3))
    command = ["evaluate", "--bundle", str(trained), "--levels", "0", "--out", str(tmp_path / "out")]
    command += options({**folders(other), **SMALL["SegResNet"], "scale": "-50:450", "split_name": "all"})
    assert main(command) == 2
    assert "holds the value 3, expected integers from 0 to 2." in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "results.json").exists()
