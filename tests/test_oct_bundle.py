"""The bundle oct_classification_ima through MONAI's own tools and through ``python -m monai_ima``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import (
    bundle_of,
    copy_bundle,
    monai_bundle,
    open_config,
    options,
    read_metrics,
    read_rows,
    run_config,
)
from conftest import REPO, run_module, run_program
from PIL import Image

from monai_ima.__main__ import main

BUNDLE = bundle_of("oct_classification")
CONFIGS = BUNDLE / "configs"
NETWORK = {"network_def#channels": [4, 8, 8, 8], "network_def#blocks": [1, 1, 1, 1]}
SMALL = {"image_size": 48, "phantom_per_class": {"train": 6, "val": 3, "test": 4}, **NETWORK}
QUICK = {"epochs": 2, "batch_size": 8, "steps": 3, "margin_steps": 3, "update_interval": 1, "val_steps": 2, **SMALL}


def monai_ima(*arguments):
    return run_module("monai_ima", *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A copy of the bundle, trained for two epochs on a small synthetic phantom from the command line."""
    root = copy_bundle("oct_classification", tmp_path_factory.mktemp("bundle") / "oct")
    done = monai_bundle("run", "--config_file", root / "configs" / "train.json", bundle_root=str(root), **QUICK)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "SYNTHETIC" in done.stdout + done.stderr
    assert "ima/margin_mean" in done.stdout
    return root


@pytest.mark.parametrize(
    "files", [["train.json"], ["train.json", "train_ce.json"], ["evaluate.json"], ["inference.json"]]
)
def test_every_config_has_the_ids_of_the_bundle_specification(files, tmp_path):
    built = open_config(BUNDLE, files, tmp_path, **SMALL)
    built.initialize()
    assert built.check_properties() == []


def test_the_settings_are_those_of_the_paper(tmp_path):
    """Section 3.4, and 3.1 where it refers to that; it gives no batch size, learning rate and number of epochs."""
    built = workflow(tmp_path, "settings")
    expected = {"beta": 0.01, "margin_steps": 50, "binary_steps": 10, "per_class": 1000, "image_size": 224}
    expected |= {"update": "epoch", "update_interval": 3, "delta": None, "steps": 20}
    config = json.loads((CONFIGS / "train.json").read_text())
    assert {name: config[name] for name in expected} == expected
    assert isinstance(built.parser.get_parsed_content("optimizer"), torch.optim.Adamax)
    for file in ("train.json", "evaluate.json", "inference.json"):
        network = json.loads((CONFIGS / file).read_text())["network_def"]
        assert network == {"_target_": "monai_ima.networks.OCTNet", "num_classes": "$len(@classes)"}


@pytest.mark.parametrize(("norm", "eps_max", "val_eps"), [("linf", 0.3, 0.05), ("l2", 1.5, 0.75)])
def test_the_norm_brings_the_papers_eps_max_and_delta(norm, eps_max, val_eps, tmp_path, caplog):
    """Section 3.4: δ is 3 ε_n over the number of epochs, where Algorithm 2 runs after every third."""
    built = train(tmp_path, norm, norm=norm, epochs=4, update_interval=3)
    margins = torch.load(tmp_path / norm / "models" / "model_last.pt", weights_only=True)["margins"]
    assert (margins["eps_max"], margins["delta"]) == (eps_max, pytest.approx(3 * eps_max / 4))
    assert built.parser.get_parsed_content("validate#attack").norm.name == norm
    assert built.parser.get_parsed_content("train#handlers#0").method.training_attack.norm.name == norm
    assert built.parser.get_parsed_content("val_eps") == pytest.approx(val_eps)
    assert "eps_max" not in caplog.text


def test_an_eps_max_of_the_other_norm_is_warned_of_before_training(tmp_path, caplog):
    workflow(tmp_path, "other", eps_max=1.0).initialize()
    assert "Got eps_max 1 for norm linf, expected about 0.3, the paper's" in caplog.text


def test_an_unknown_norm_is_refused_in_a_sentence():
    done = monai_bundle("run", "--config_file", CONFIGS / "train.json", bundle_root=str(BUNDLE), norm="l1")
    assert done.returncode != 0
    assert "ValueError: Unknown norm 'l1', expected 'l2' or 'linf'." in done.stderr


def test_scans_that_are_too_small_for_the_network_are_refused(tmp_path):
    with pytest.raises(RuntimeError) as refused:
        train(tmp_path, "small", epochs=1, image_size=32)
    assert "Got images of 32 x 32 pixels, expected a side longer than 32" in str(refused.value.__cause__)


def test_metadata_describe_the_version_and_the_classes():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == ["CNV", "DME", "DRUSEN", "NORMAL"]


def test_training_leaves_best_and_last_checkpoint_margins_and_tensorboard(trained):
    models = trained / "models"
    last = torch.load(models / "model_last.pt", weights_only=True)
    assert set(last) == {"model", "optimizer", "trainer", "margins"}
    assert len(last["margins"]["ids"]) == 24
    assert torch.load(models / "model_margins.pt", weights_only=True)["ids"] == last["margins"]["ids"]
    assert torch.load(models / "model.pt", weights_only=True).keys() == last["model"].keys()
    assert list((trained / "eval").glob("events.out.tfevents*"))


def test_evaluation_and_inference_run_on_the_checkpoint(trained, tmp_path):
    common = {"bundle_root": str(trained), "output_dir": str(tmp_path), **SMALL}
    common["phantom_dir"] = str(trained / "eval" / "synthetic_oct")
    done = monai_bundle("run", "--config_file", trained / "configs" / "evaluate.json", eval_steps=3, **common)
    assert done.returncode == 0, done.stderr[-3000:]
    values = {}
    for kind in ("clean", "robust"):
        values[kind] = read_metrics(tmp_path / kind / "metrics.csv")
    assert values["clean"]["accuracy"] >= values["robust"]["robust_accuracy"]
    scans = trained / "eval" / "synthetic_oct" / "test"
    common.pop("phantom_per_class")
    done = monai_bundle(
        "run", "--config_file", trained / "configs" / "inference.json", dataset_dir=str(scans), **common
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = read_rows(tmp_path / "predictions.csv")
    assert len(rows) == 16
    for row in rows:
        probabilities = {name: float(row[name]) for name in ("CNV", "DME", "DRUSEN", "NORMAL")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(probabilities, key=probabilities.get)
    right = sum(row["sample_id"].split("/")[0] == row["predicted"] for row in rows)
    assert right / 16 == pytest.approx(values["clean"]["accuracy"], abs=1e-4)


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    files = ("--meta_file", trained / "configs" / "metadata.json", "--config_file", trained / "configs" / "train.json")
    done = monai_bundle("verify_net_in_out", "--net_id", "network_def", *files, device="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    export = tmp_path / "model.ts"
    checkpoint = ("--ckpt_file", trained / "models" / "model.pt", "--filepath", export)
    done = monai_bundle("ckpt_export", "--net_id", "network_def", *checkpoint, *files, **NETWORK)
    assert done.returncode == 0, done.stderr[-2000:]
    assert torch.jit.load(export)(torch.rand(2, 1, 48, 48)).shape == (2, 4)


def test_a_run_resumed_from_its_checkpoint_equals_an_uninterrupted_one(tmp_path):
    train(tmp_path, "whole", epochs=4, delta=0.02)
    train(tmp_path, "part", epochs=2, delta=0.02)
    train(tmp_path, "rest", epochs=4, delta=0.02, resume=str(tmp_path / "part/models/model_checkpoint_epoch=2.pt"))
    whole, rest = (torch.load(tmp_path / n / "models/model_last.pt", weights_only=True) for n in ("whole", "rest"))
    assert whole["margins"]["ids"] == rest["margins"]["ids"]
    assert torch.equal(whole["margins"]["margins"], rest["margins"]["margins"])
    assert all(torch.equal(value, rest["model"][name]) for name, value in whole["model"].items())


def test_the_plain_overlay_trains_without_ima_from_the_same_start(tmp_path):
    train(tmp_path, "plain", files=("train.json", "train_ce.json"), epochs=1)
    assert sorted(p.name for p in (tmp_path / "plain" / "models").iterdir()) == [
        "model_ce.pt",
        "model_ce_checkpoint_epoch=1.pt",
        "model_ce_last.pt",
    ]
    starts = [
        workflow(tmp_path, name, files=files)
        for name, files in (("a", ["train.json"]), ("b", ["train.json", "train_ce.json"]))
    ]
    weights = []
    for built in starts:
        built.initialize()
        weights.append(built.parser.get_parsed_content("network_def").state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_two_processes_share_one_margin_table(tmp_path):
    settings = {
        "bundle_root": str(BUNDLE),
        "output_dir": str(tmp_path / "eval"),
        "ckpt_dir": str(tmp_path / "models"),
        "delta": 0.0005,
        **QUICK,
        "epochs": 3,
        "batch_size": 4,
    }
    files = [str(CONFIGS / name) for name in ("train.json", "multi_gpu_train.json")]
    done = run_program(
        Path(sys.executable).parent / "torchrun",
        "--nproc_per_node=2",
        "--master_port=29611",
        REPO / "tests" / "ddp_margins.py",
        json.dumps([files, settings, str(tmp_path)]),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{k}.json").read_text()) for k in range(2)]
    assert ranks[0] == ranks[1]
    assert len(ranks[0]) == 24
    saved = torch.load(tmp_path / "models" / "model_last.pt", weights_only=True)["margins"]
    assert dict(zip(saved["ids"], saved["margins"].tolist(), strict=True)) == ranks[0]
    assert len(set(ranks[0].values())) > 1


def test_attacked_scans_are_saved_as_pictures_and_never_over_others(tmp_path, capsys):
    train(tmp_path, "plain", files=("train.json", "train_ce.json"), epochs=10, learning_rate=0.02)
    out = tmp_path / "noisy"
    settings = options({**SMALL, "phantom_dir": str(tmp_path / "phantom"), "split": "train"})
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
    assert main([*command, *settings]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_wrong_data_folder_is_named(tmp_path):
    done = monai_bundle(
        "run", "--config_file", CONFIGS / "train.json", bundle_root=str(BUNDLE), dataset_dir=str(tmp_path / "nowhere")
    )
    assert done.returncode != 0
    assert f"Dataset folder {tmp_path / 'nowhere'} does not exist" in done.stderr


@pytest.mark.slow
def test_the_real_scans_train_evaluate_and_infer(real_data, tmp_path):
    """The published resolution and network on the 32 real scans."""
    common = {"bundle_root": str(BUNDLE), "dataset_dir": str(real_data / "OCT2017"), "output_dir": str(tmp_path)}
    quick = {"epochs": 2, "steps": 4, "margin_steps": 4, "val_steps": 4, "ckpt_dir": str(tmp_path / "models")}
    done = monai_bundle("run", "--config_file", CONFIGS / "train.json", **quick, **common)
    assert done.returncode == 0, done.stderr[-3000:]
    common["ckpt_path"] = str(tmp_path / "models" / "model.pt")
    done = monai_bundle("run", "--config_file", CONFIGS / "evaluate.json", eval_steps=5, eval_restarts=1, **common)
    assert done.returncode == 0, done.stderr[-3000:]
    done = monai_bundle("run", "--config_file", CONFIGS / "inference.json", **common)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(read_rows(tmp_path / "predictions.csv")) == 32


def workflow(tmp_path, name, files=("train.json",), **settings):
    settings = {"phantom_dir": str(tmp_path / "phantom"), **QUICK, **settings}
    return open_config(BUNDLE, files, tmp_path / name, **settings)


def train(*args, **settings):
    return run_config(workflow(*args, **settings))


def phantom(trained):
    return ["--phantom_dir", trained / "eval" / "synthetic_oct", *options(SMALL)]


def test_evaluate_writes_consistent_numbers_and_pictures(trained, tmp_path):
    levels = "0,0.001,0.02"
    done = monai_ima(
        "evaluate",
        "--bundle",
        trained,
        "--levels",
        levels,
        "--attack",
        "pgd5x2",
        "--out",
        tmp_path / "r",
        *phantom(trained),
    )
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
    again = monai_ima("evaluate", "--bundle", trained, "--levels", levels, "--out", tmp_path / "r")
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    assert json.loads((tmp_path / "r" / "results.json").read_text()) == found


def test_margins_writes_a_table_that_agrees_with_the_checkpoint(trained, tmp_path):
    done = monai_ima("margins", "--checkpoint", trained / "models" / "model_last.pt", "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    state = torch.load(trained / "models" / "model_last.pt", weights_only=True)["margins"]
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
        (["fly"], "Unknown verb 'fly', expected one of attack, evaluate, harden, margins"),
        (["evaluate", "--bundle", "{bundle}"], "Option --levels is missing"),
        (["evaluate", "--bundle", "{tmp}/none", "--levels", "0.1"], "is no MONAI bundle"),
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
