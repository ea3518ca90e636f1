"""Checkpoints as people have them: of DDP, Lightning and torch.compile, nested, or with other things in them."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from model_files import UNET, write_scans
from monai.networks.nets import UNet
from torch import nn

from monai_ima.__main__ import main
from monai_ima.handlers import StartWeights
from monai_ima.results.provenance import has_other_weights
from monai_ima.results.schema import Results
from monai_ima.utils.weights import check_weights, load_network, load_weights, weights_digest


def network(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


def prefixed(prefix: str, outputs: int = 2) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in network(outputs).state_dict().items()}


def same(one: nn.Module, weights: dict[str, torch.Tensor], prefix: str) -> bool:
    return all(torch.equal(value, weights[f"{prefix}{name}"]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "network.", "_orig_mod.", "_orig_mod.module."])
def test_a_prefix_that_all_names_have_is_left_out(prefix, tmp_path, caplog):
    weights, file = prefixed(prefix), tmp_path / "m.ckpt"
    torch.save({"epoch": 1, "state_dict": weights}, file)
    one = network()
    with caplog.at_level(logging.INFO):
        load_network(one, file)
    assert same(one, weights, prefix)
    assert caplog.messages == [f"The names of the weights in {file} are taken without the prefix {prefix}."]
    assert not has_other_weights(str(file), weights_digest(one))
    assert has_other_weights(str(file), weights_digest(network()))


def test_names_of_the_network_keep_the_prefix_that_they_have(tmp_path, caplog):
    one = nn.ModuleDict({"module": network()})
    weights = prefixed("module.")
    torch.save(weights, tmp_path / "m.pt")
    with caplog.at_level(logging.INFO):
        load_network(one, tmp_path / "m.pt")
    assert same(one["module"], weights, "module.")
    assert not caplog.messages


def test_a_parallel_networks_checkpoint_starts_a_training(tmp_path):
    weights = prefixed("module.")
    torch.save(weights, tmp_path / "m.pt")
    one = network()
    trainer = Engine(lambda *_: None)
    StartWeights(one, tmp_path / "m.pt").attach(trainer)
    trainer.run([0], 1)
    assert same(one, weights, "module.")


@pytest.mark.parametrize("key", ["model", "network", "state_dict"])
@pytest.mark.parametrize("inner", ["state_dict", "model_state_dict"])
def test_weights_one_deeper_are_found(key, inner, tmp_path):
    weights = prefixed("")
    torch.save({"epoch": 3, key: {inner: weights, "kind": "x"}}, tmp_path / "m.pt")
    found = load_weights(tmp_path / "m.pt")
    assert found.keys() == weights.keys()
    assert weights_digest(found) == weights_digest(weights)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (prefixed("", 3), "2.bias is of shape (3,) there, expected of shape (2,) as in the network."),
        (prefixed("module.", 3), "2.bias is of shape (3,) there, expected of shape (2,) as in the network."),
        ({**prefixed(""), "loss.weight": torch.ones(1)}, "loss.weight is not in the network, expected only names such"),
        (
            {**prefixed("module."), "module.loss": torch.ones(1)},
            "0.bias is missing there, expected of shape (4,) as in the network (all names there begin with module.).",
        ),
        ({"0.bias": torch.ones(4)}, "0.weight is missing there, expected of shape (4, 3) as in the network."),
    ],
)
def test_weights_of_another_network_are_refused_in_words_that_make_sense(weights, words):
    one = network()
    before = weights_digest(one)
    with pytest.raises(ValueError, match=r"^Checkpoint m.pt is of another network: .*\.$") as refused:
        check_weights(one, weights, "m.pt")
    assert words in str(refused.value)
    assert weights_digest(one) == before


def test_a_checkpoint_without_weights_is_told_all_places_where_they_may_be(tmp_path):
    torch.save({"weights": prefixed("")}, tmp_path / "m.pt")
    with pytest.raises(
        ValueError, match=r"holds no network weights, expected them at the top or under model, .*\.$"
    ) as e:
        load_weights(tmp_path / "m.pt")
    for key in ("network", "net", "state_dict", "model_state_dict", "network_weights"):
        assert key in str(e.value).split("under")[1]


@pytest.mark.parametrize(
    "content",
    [
        network(),
        {"model": prefixed(""), "args": argparse.Namespace(lr=1)},
        {"model": prefixed(""), "folder": Path("x")},
        {"model": prefixed(""), "best": np.float64(1)},
    ],
    ids=["module", "namespace", "path", "numpy"],
)
def test_a_checkpoint_with_more_than_tensors_is_refused_with_the_remedy(content, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"loads safely, expected .*torch.save\(network.state_dict\(\), FILE\)"):
        load_weights(tmp_path / "m.pt")


def test_an_exported_program_is_refused_with_the_remedy(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.ones(1, 2),)), tmp_path / "m.pt2")
    with pytest.raises(ValueError, match=r"m.pt2 .* expected .*torch.save\(network.state_dict\(\), FILE\)"):
        load_weights(tmp_path / "m.pt2")


def test_the_checkpoint_of_a_parallel_network_is_evaluated_as_the_networks_own(tmp_path):
    images, labels = write_scans(tmp_path, count=2, size=8)
    weights = UNet(**UNET).state_dict()
    torch.save(weights, tmp_path / "own.pt")
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "ddp.pt")
    found: list[Any] = []
    for name in ("own", "ddp"):
        model = ["--model", str(tmp_path / f"{name}.pt"), "--network", "UNet", "--network_args", json.dumps(UNET)]
        data = ["--images", str(images), "--labels", str(labels), "--out", str(tmp_path / name)]
        assert main(["evaluate", *model, *data, "--levels", "0.1", "--attack", "fgsm", "--cases", "0"]) == 0
        found.append(Results.read(tmp_path / name))
    assert found[0].attacks == found[1].attacks
    assert found[0].model.sha256 == found[1].model.sha256
