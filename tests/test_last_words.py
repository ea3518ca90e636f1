"""What a bundle of ours refuses ends MONAI's own command with our sentence."""

from __future__ import annotations

import json

import pytest
from conftest import REPO, run_module

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


def test_every_config_that_runs_ends_so():
    for bundle in BUNDLES:
        for name in ("train", "multi_gpu_train", "evaluate", "inference"):
            content = json.loads((bundle / "configs" / f"{name}.json").read_text())
            assert content["initialize"][0] == "$end_with_cause()", f"{bundle.name} {name}"
            assert "$from monai_ima.utils.errors import end_with_cause" in content["imports"], f"{bundle.name} {name}"
