"""The bundle oct_classification_ima through MONAI's own tools and through ``python -m monai_ima``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import (
    QUICK,
    SMALL,
    bundle_of,
    copy_bundle,
    load,
    open_small,
    options,
    read_metrics,
    read_rows,
    run_bundle,
    run_small,
    run_two_processes,
    verify_and_export,
)
from conftest import run_module
from PIL import Image

from monai_ima.__main__ import main

BUNDLE = bundle_of("oct_classification")
CONFIGS = BUNDLE / "configs"
NETWORK = {key: value for key, value in SMALL["oct"].items() if key.startswith("network_def")}


def monai_ima(*arguments):
    return run_module("monai_ima", *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A copy of the bundle, trained for two epochs on a small synthetic phantom from the command line."""
    root = copy_bundle("oct_classification", tmp_path_factory.mktemp("bundle") / "oct")
    done = run_bundle(root, "train.json", **SMALL["oct"], **QUICK["oct"])
    assert "SYNTHETIC" in done.stdout + done.stderr
    assert "ima/margin_mean" in done.stdout
    return root


def test_the_settings_are_those_of_the_paper(tmp_path):
    """Section 3.4, and 3.1 where it refers to that; it gives no batch size, learning rate and number of epochs."""
    built = open_small("oct", ["train.json"], tmp_path)
    expected = {"beta": 0.01, "margin_steps": 50, "binary_steps": 10, "per_class": 1000, "image_size": 224}
    expected |= {"update": "epoch", "update_interval": 3, "delta": None, "steps": 20}
    config = json.loads((CONFIGS / "train.json").read_text())
    assert {name: config[name] for name in expected} == expected
    assert isinstance(built.parser.get_parsed_content("optimizer"), torch.optim.Adamax)
    assert config["network_def"] == {"_target_": "monai_ima.networks.OCTNet", "num_classes": "$len(@classes)"}


def test_scans_that_are_too_small_for_the_network_are_refused(tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run_small("oct", ["train.json"], tmp_path, epochs=1, image_size=32)
    assert "Got images of 32 x 32 pixels, expected a side longer than 32" in str(refused.value.__cause__)


def test_training_leaves_best_and_last_checkpoint_margins_and_tensorboard(trained):
    models = trained / "models"
    last = load(models / "model_last.pt")
    assert set(last) == {"model", "optimizer", "trainer", "margins", "best", "random_states"}
    assert len(last["margins"]["ids"]) == 24
    assert load(models / "model_margins.pt")["margins"]["ids"] == last["margins"]["ids"]
    assert load(models / "model.pt").keys() == last["model"].keys()
    assert list((trained / "eval").glob("events.out.tfevents*"))


def test_evaluation_and_inference_run_on_the_checkpoint(trained, tmp_path):
    phantom = trained / "eval" / "synthetic_oct"
    common = {"output_dir": str(tmp_path), "phantom_dir": str(phantom), **SMALL["oct"]}
    run_bundle(trained, "evaluate.json", eval_steps=3, **common)
    clean, robust = (read_metrics(tmp_path / kind / "metrics.csv") for kind in ("clean", "robust"))
    assert clean["accuracy"] >= robust["robust_accuracy"]
    common.pop("phantom_per_class")
    run_bundle(trained, "inference.json", dataset_dir=str(phantom / "test"), **common)
    rows = read_rows(tmp_path / "predictions.csv")
    assert len(rows) == 16
    for row in rows:
        probabilities = {name: float(row[name]) for name in ("CNV", "DME", "DRUSEN", "NORMAL")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(probabilities, key=probabilities.get)
    right = sum(row["sample_id"].split("/")[0] == row["predicted"] for row in rows)
    assert right / 16 == pytest.approx(clean["accuracy"], abs=1e-4)


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    exported = verify_and_export(trained, tmp_path / "model.ts", trained / "models" / "model.pt", **SMALL["oct"])
    assert exported(torch.rand(2, 1, 48, 48)).shape == (2, 4)


@pytest.mark.slow
def test_two_processes_share_one_margin_table(tmp_path):
    settings = {**SMALL["oct"], **QUICK["oct"], "delta": 0.0005, "epochs": 3, "batch_size": 4}
    margins = run_two_processes(BUNDLE, tmp_path, 29611, **settings)["margins"]["margins"]
    assert len(margins) == 24
    assert len(margins.unique()) > 1


def test_attacked_scans_are_saved_as_pictures_and_never_over_others(tmp_path, capsys):
    phantom = {"phantom_dir": str(tmp_path / "phantom")}
    files = ["train.json", "train_ce.json"]
    run_small("oct", files, tmp_path / "plain", epochs=10, learning_rate=0.02, **phantom)
    out = tmp_path / "noisy"
    settings = options({**SMALL["oct"], **phantom, "split": "train"})
    command = ["attack", "--bundle", str(BUNDLE), "--eps", "0.05", "--attack", "pgd3", "--limit", "20"]
    command += ["--checkpoint", str(tmp_path / "plain" / "models" / "model_ce_last.pt"), "--out", str(out)]
    assert main([*command, *settings]) == 0, capsys.readouterr().err
    pictures = sorted(out.rglob("*_noisy.png"))
    assert len(pictures) == 20, "the first twenty of twenty-four"
    largest = []
    for picture in pictures:
        label, name = picture.parent.name, picture.name.replace("_noisy.png", ".jpeg")
        (original,) = (tmp_path / "phantom" / "train" / label).glob(name)
        clean = np.asarray(Image.open(original).convert("L"), dtype=float)
        noisy = np.asarray(Image.open(picture), dtype=float)
        assert noisy.shape == clean.shape == (48, 48)
        largest.append(np.abs(noisy - clean).max())
    assert max(largest) <= 0.05 * 255 + 1
    assert sum(value > 5 for value in largest) > 2, "wrong scans stay as they are, right ones are attacked"
    before = [picture.stat().st_mtime_ns for picture in pictures]
    assert main([*command, *settings]) == 0, "a finished run has nothing left to do"
    assert [picture.stat().st_mtime_ns for picture in pictures] == before
    assert main([*command, *settings, "--seed", "1"]) == 2
    assert "with other settings (seed 0 there, 1 here)" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_scans_train_evaluate_and_infer(real_data, tmp_path):
    """The published resolution and network on the 32 real scans."""
    common = {"dataset_dir": str(real_data / "OCT2017"), "output_dir": str(tmp_path)}
    quick = {"epochs": 1, "steps": 2, "margin_steps": 2, "binary_steps": 2, "val_steps": 2}
    quick |= {"ckpt_dir": str(tmp_path / "models")}
    run_bundle(BUNDLE, "train.json", **quick, **common)
    common["ckpt_path"] = str(tmp_path / "models" / "model.pt")
    run_bundle(BUNDLE, "evaluate.json", eval_steps=2, eval_restarts=1, **common)
    run_bundle(BUNDLE, "inference.json", **common)
    assert len(read_rows(tmp_path / "predictions.csv")) == 32


def phantom(trained):
    return ["--phantom_dir", trained / "eval" / "synthetic_oct", *options(SMALL["oct"])]


def test_evaluate_writes_consistent_numbers_and_pictures(trained, tmp_path):
    command = ["evaluate", "--bundle", trained, "--levels", "0,0.001,0.02", "--out", tmp_path / "r"]
    done = monai_ima(*command, "--attack", "pgd5x2", "--cases", "2", *phantom(trained))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["data"]["synthetic"]
    assert found["data"]["name"] == "synthetic phantom"
    assert found["levels"] == [0, 0.001, 0.02]
    assert found["accuracy"] == sorted(found["accuracy"], reverse=True)
    for k, level in enumerate(found["levels"]):
        broken = [s["broken_at"]["pgd5x2"] for s in found["samples"]]
        stands = [b is None or b > level for b in broken]
        assert found["accuracy"][k] == pytest.approx(sum(stands) / 16)
    rows = read_rows(tmp_path / "r" / "results.csv")
    assert [float(row["accuracy"]) for row in rows] == found["accuracy"]
    assert [float(row["DME"]) for row in rows] == found["accuracy_by_class"]["DME"]
    assert (tmp_path / "r" / "curve.png").stat().st_size > 5000
    again = monai_ima(*command)
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    assert json.loads((tmp_path / "r" / "results.json").read_text()) == found


def test_margins_writes_a_table_that_agrees_with_the_checkpoint(trained, tmp_path):
    done = monai_ima("margins", "--checkpoint", trained / "models" / "model_last.pt", "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    state = load(trained / "models" / "model_last.pt")["margins"]
    rows = {row["sample_id"]: float(row["margin"]) for row in read_rows(tmp_path / "m" / "margins.csv")}
    assert rows == dict(zip(state["ids"], state["margins"].tolist(), strict=True))
    summary = {row["quantity"]: float(row["value"]) for row in read_rows(tmp_path / "m" / "summary.csv")}
    ordered = sorted(rows.values())
    assert summary["suggested fixed eps (median)"] == pytest.approx((ordered[11] + ordered[12]) / 2)
    assert summary["share at eps_max"] == sum(v >= 0.3 - 1e-6 for v in ordered) / 24
    assert (tmp_path / "m" / "margins.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "Unknown verb 'fly', expected one of demo, suggest, harden, evaluate, attack"),
        (["evaluate", "--bundle", "{bundle}"], "Option --levels is missing"),
        (
            ["evaluate", "--bundle", "{tmp}/none", "--levels", "0.1"],
            "none does not exist, expected that of a MONAI bundle",
        ),
        (["evaluate", "--bundle", "{bundle}", "--levels", "-0.1"], "Got level -0.1"),
        (["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--norm", "l7"], "Unknown norm 'l7'"),
        (["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--attack", "magic"], "Unknown attack 'magic'"),
        (["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--config", "no.json"], "no.json does not exist"),
        (["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--checkpoint", "{tmp}/x.pt"], "x.pt does not exist"),
        (["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--out", "{tmp}/o"], "is of another network"),
        (
            ["evaluate", "--bundle", "{bundle}", "--levels", "0.1", "--dataset_dir", "{tmp}/none", *options(NETWORK)],
            "none does not exist",
        ),
        (["margins", "--checkpoint", "{bundle}/models/model.pt"], "holds no margins"),
        (["margins", "--checkpoint", "{bundle}/LICENSE"], "is no checkpoint that loads safely"),
        (["margins", "--checkpoint", "{bundle}/models/model_last.pt", "--bins", "3"], "Unknown option --bins"),
    ],
)
def test_bad_use_gives_one_sentence_and_exit_code_2(trained, tmp_path, arguments, words):
    done = monai_ima(*(a.format(bundle=trained, tmp=tmp_path) for a in arguments))
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "UserWarning" not in line]
    assert done.returncode == 2, done.stderr
    assert words in lines[-1]
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_help_is_everywhere():
    for arguments in (["--help"], ["evaluate", "--help"], ["margins", "--help"]):
        done = monai_ima(*arguments)
        assert done.returncode == 0
        assert "monai-ima" in done.stdout
