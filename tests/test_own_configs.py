"""The lines that ``harden`` prints for a bundle's own evaluation and inference run them with the hardened weights."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fire.parser import DefaultParseValue
from wild_bundles import CPU, FROM_ENGINE, STYLES, part, small_resnet, write

from monai_ima.__main__ import main
from monai_ima.harden.own_configs import bundle_line, own_lines, shell_word

LOADER = part("CheckpointLoader", load_path="$@bundle_root + '/models/model.pt'", load_dict={"model": "@network"})
BY_ID = {**LOADER, "load_path": "@ckpt_path"}
WEIGHTS = {"weights": "$@bundle_root + '/models/model.pt'"}
SEEN = "$torch.save(@network.state_dict(), @bundle_root + '/seen.pt')"
INFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "a loader among the handlers": ({"handlers": [LOADER]}, "handlers#0#load_path"),
    "a loader that refers to a path": (
        {"ckpt_path": WEIGHTS["weights"], "handlers": [{**BY_ID, "_disabled_": "$not os.path.exists(@ckpt_path)"}]},
        "ckpt_path",
    ),
    "a loader called first": (
        {"load": True, "loader": LOADER, "initialize": ["$@loader(@evaluator) if @load else None"]},
        "loader#load_path",
    ),
    "an expression": (
        {**WEIGHTS, "initialize": ["$@network.load_state_dict(torch.load(@weights, map_location=@device))"]},
        "weights",
    ),
    "two expressions": (
        {**WEIGHTS, "content": "$torch.load(@weights)", "run": ["$@network.load_state_dict(@content)", SEEN]},
        "weights",
    ),
    "another loader that nothing runs": (
        {"handlers": [LOADER], "unused": {**LOADER, "load_path": "x.pt"}},
        "handlers#0",
    ),
}


@pytest.fixture
def zoo(tmp_path) -> Path:
    """A bundle whose hardened weights differ from its own."""
    root = tmp_path / "zoo"
    STYLES["zoo_classification"](root)
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    torch.save({name: value + 1 for name, value in weights.items()}, root / "models" / "model_ima.pt")
    return root


def inference(root: Path, content: dict[str, Any]) -> None:
    """A config that predicts two images, and keeps the weights that it did so with."""
    loader = part("DataLoader", dataset="$[{'image': torch.zeros(1, 32, 32)}] * 2", batch_size=2)
    arguments = small_resnet()
    evaluator = part("SupervisedEvaluator", device="@device", val_data_loader=loader, network="@network")
    if "handlers" in content:
        evaluator["val_handlers"] = "@handlers"
    own = {"imports": ["$import os"], "bundle_root": "/nowhere", "device": CPU, "network_def": arguments}
    own |= {"network": "$@network_def.to(@device)", "evaluator": evaluator, "run": ["$@evaluator.run()", SEEN]}
    write(root, "inference.json", {**own, **content})


def line_of(printed: str, name: str) -> str:
    """The line below a config's heading."""
    return printed.split(f"The bundle's own configs/{name} with these weights:\n")[1].splitlines()[0]


def weights_seen(root: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The weights that a run of the line ended with."""
    start, words = line.split(" && python -m monai.bundle ")
    assert start == f"cd {root}"
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *shlex.split(words)])
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    return torch.load(root / "seen.pt", weights_only=True)


def same(found: dict[str, torch.Tensor], root: Path, name: str) -> bool:
    expected = torch.load(root / "models" / name, weights_only=True)
    return found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("style", INFERENCES)
def test_the_bundles_own_inference_has_the_hardened_weights(zoo, style, capsys, monkeypatch):
    content, path = INFERENCES[style]
    inference(zoo, content)
    assert main(["harden", "--bundle", str(zoo)]) == 0
    line = line_of(capsys.readouterr().out, "inference.json")
    assert f" --{path}" in line
    assert same(weights_seen(zoo, line, monkeypatch), zoo, "model_ima.pt")
    assert same(weights_seen(zoo, line.rsplit(" --", 1)[0], monkeypatch), zoo, "model.pt")


def test_the_bundles_own_evaluation_has_the_hardened_weights(zoo, capsys, monkeypatch):
    metric = {"val_accu": part("ignite.metrics.Accuracy", output_transform=FROM_ENGINE)}
    content = {
        "validate#handlers": [{**LOADER, "load_path": "$@ckpt_dir + '/model.pt'"}],
        "validate#key_metric": metric,
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@validate#evaluator.run()", SEEN],
    }
    write(zoo, "evaluate.json", content)
    assert main(["harden", "--bundle", str(zoo)]) == 0
    line = line_of(capsys.readouterr().out, "evaluate.json")
    assert "['configs/train.json','configs/evaluate.json']" in line
    assert same(weights_seen(zoo, line, monkeypatch), zoo, "model_ima.pt")


@pytest.mark.parametrize(
    ("content", "flat", "sentence"),
    [
        ({}, True, "cannot be found by reading, expected one path in a CheckpointLoader or torch.load: override what"),
        (
            {"handlers": [LOADER, BY_ID]},
            True,
            r"by reading \(found handlers#0#load_path, ckpt_path\), expected one path",
        ),
        (
            {"handlers": [{**LOADER, "load_dict": {"model": "@network", "epoch": "@evaluator"}}]},
            True,
            "loads something else from handlers#0#load_path, models/w.pt holds the network's weights alone: over",
        ),
        (
            {"handlers": [{**LOADER, "load_dict": {"net": "@network"}}]},
            False,
            "the network's weights under 'model': over",
        ),
        (
            {**WEIGHTS, "initialize": ["$@network.load_state_dict(torch.load(@weights)['model'])"]},
            True,
            "loads something else from weights, models/w.pt holds the network's weights alone",
        ),
        ({"handlers": ["@nowhere"]}, True, "Reference @nowhere in .*inference.json leads nowhere"),
    ],
)
def test_where_the_path_cannot_be_read_one_sentence_says_so(tmp_path, content, flat, sentence):
    inference(tmp_path, {"ckpt_path": "x.pt", **content})
    (line,) = own_lines(tmp_path, ["train.json"], "models/w.pt", flat)
    assert line.startswith("The bundle's own configs/inference.json with these weights: no line can be given. ")
    assert re.search(sentence, line)


@pytest.mark.parametrize("entry", [{"model": "@network"}, None])
def test_weights_that_lie_under_model_are_taken_by_what_loads_them_so(tmp_path, entry):
    expression = {**WEIGHTS, "initialize": ["$@network.load_state_dict(torch.load(@weights)['model'])"]}
    inference(tmp_path, expression if entry is None else {"handlers": [{**LOADER, "load_dict": entry}]})
    _, line = own_lines(tmp_path, ["train.json"], "models/model_ima_last.pt", flat=False)
    assert line.endswith(" models/model_ima_last.pt")


def test_a_bundle_without_such_configs_has_no_such_lines(zoo):
    assert own_lines(zoo, ["train.json"], "models/model_ima.pt", flat=True) == []


HOSTILE = "it's $(touch ran) `touch ran`; touch ran \" & #"
"""What a name must not make a shell do."""


@pytest.mark.parametrize("name", ["plain", HOSTILE])
def test_a_printed_line_reaches_the_program_as_it_was_meant_whatever_the_names_are(name, tmp_path):
    root = tmp_path / name
    root.mkdir()
    line = bundle_line(root, [f"{name}.json", "train_ima.json"], f"{name} run" if name == HOSTILE else "go#on")
    shell = f"python() {{ pwd; printf '%s\\n' \"$@\"; }}; {line}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path, check=True)
    folder, *words = done.stdout.splitlines()
    assert folder == str(root)
    run = f"{name} run" if name == HOSTILE else "go#on"
    assert words[:4] == ["-m", "monai.bundle", "run", run]
    assert words[4] == "--config_file"
    assert (
        ast.literal_eval(words[5]) == DefaultParseValue(words[5]) == [f"configs/{name}.json", "configs/train_ima.json"]
    )
    assert words[6:] == ["--bundle_root", "."]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert shlex.split(shell_word(f"--{name}#path")) == [f"--{name}#path"]
