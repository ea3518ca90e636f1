"""What a bundle of ours refuses ends MONAI's own command with our sentence."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from conftest import REPO, run_module
from torch import nn

from monai_ima.utils.errors import end_with_cause

BUNDLES = sorted(folder for folder in (REPO / "bundles").iterdir() if (folder / "configs").is_dir())


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        ("train.json", {"beta": 2}, "Got beta 2, expected a number in [0, 1]."),
        ("train.json", {"dataset_dir": "nowhere"}, "nowhere"),
        ("train.json", {"norm": "l7"}, "l7"),
        ("evaluate.json", {"eval_steps": 0}, "Got steps 0, expected an integer >= 1."),
    ],
)
def test_the_last_line_of_monais_command_is_our_sentence(config, options, words, tmp_path):
    root = REPO / "bundles" / "ecg_classification_ima"
    places = {"bundle_root": str(root), "ckpt_dir": str(tmp_path), "output_dir": str(tmp_path)}
    given = [f"--{name}={value}" for name, value in {**places, **options}.items()]
    done = run_module("monai.bundle", "run", "--config_file", root / "configs" / config, *given)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert words in last
    assert "_mode_=debug" not in last


SMALL_OCT = {"phantom_per_class": '{"train": 2, "val": 1, "test": 1}', "image_size": 32}


@pytest.mark.parametrize(
    ("options", "begin", "words"),
    [
        ({"batch_size": "x"}, "train::dataloader could not be built or run: ", "batch_size=x"),
        ({"epochs": 0}, "run::0 could not be built or run: ", "max_epochs"),
        ({"device": "nonsense"}, "network could not be built or run: ", "nonsense"),
    ],
)
def test_of_an_error_that_is_not_ours_the_last_line_names_the_id_and_the_cause(options, begin, words, tmp_path):
    root = REPO / "bundles" / "oct_classification_ima"
    places = {name: str(tmp_path) for name in ("ckpt_dir", "output_dir")} | {"phantom_dir": str(tmp_path / "phantom")}
    given = [f"--{name}={value}" for name, value in {"bundle_root": root, **places, **SMALL_OCT, **options}.items()]
    done = run_module("monai.bundle", "run", "--config_file", root / "configs" / "train.json", *given)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(begin)
    assert words in last


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "weight is missing there"),
        ({"weight": torch.zeros(2, 3)}, "bias is missing there"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, "more is not in the network"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "weight is of shape [2, 4] there, expected [2, 3]"),
    ],
)
def test_weights_of_another_network_are_one_sentence_with_the_first_difference(state, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    end_with_cause()
    with pytest.raises(RuntimeError) as torchs:
        nn.Linear(3, 2).load_state_dict(state)
    error = RuntimeError("Failed")
    error.__cause__ = torchs.value
    sys.excepthook(RuntimeError, error, None)
    sentence = f"RuntimeError: The weights are of another network than this Linear: {words}; give the options that "
    assert capsys.readouterr().err == f"{sentence}training had.\n"


def test_every_config_that_runs_ends_so():
    for bundle in BUNDLES:
        for name in ("train", "multi_gpu_train", "evaluate", "inference"):
            content = json.loads((bundle / "configs" / f"{name}.json").read_text())
            assert content["initialize"][0] == "$end_with_cause()", f"{bundle.name} {name}"
            assert "$from monai_ima.utils.errors import end_with_cause" in content["imports"], f"{bundle.name} {name}"
