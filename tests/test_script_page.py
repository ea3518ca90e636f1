"""docs/howto/script.md: its lines harden a MONAI trainer, a loop and a Lightning module alike, measure and export."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from conftest import REPO
from monai.data import DataLoader, Dataset
from test_plain_loop import shown as loop_lines
from torch import nn
from training_runs import assert_same_weights, blobs

EPOCHS = 3


def sections() -> dict[str, list[str]]:
    """The page's Python by heading."""
    parts = re.split(r"^## (.*)\n", (REPO / "docs/howto/script.md").read_text(), flags=re.MULTILINE)[1:]
    blocks = {
        title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert [len(found) for found in blocks.values()] == [1, 1, 0, 2, 2]
    return blocks


def run(title: str, names: dict[str, Any], *numbers: int) -> None:
    blocks = sections()[title]
    for number in numbers or range(len(blocks)):
        exec(blocks[number], names)


def setting(batches: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names of a script, its network trained for an epoch."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    optimizer, loss_function = torch.optim.Adam(network.parameters(), lr=0.02), nn.CrossEntropyLoss()
    loader = DataLoader(Dataset(blobs(22)), batch_size=8, **(batches or {}))
    for item in DataLoader(Dataset(blobs(22)), batch_size=8):
        optimizer.zero_grad()
        loss_function(network(item["image"]), item["label"]).backward()
        optimizer.step()
    return {
        "network": network,
        "optimizer": optimizer,
        "loss_function": loss_function,
        "loader": loader,
        "test_loader": DataLoader(Dataset(blobs(20, seed=1)), batch_size=10),
        "device": "cpu",
        "epochs": EPOCHS,
    }


def quiet_lightning(monkeypatch, folder) -> None:
    lightning = pytest.importorskip("lightning")
    monkeypatch.chdir(folder)
    defaults = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    make = lightning.Trainer.__init__
    monkeypatch.setattr(lightning.Trainer, "__init__", lambda self, **given: make(self, **defaults, **given))


@pytest.fixture(scope="module")
def loop() -> dict[str, Any]:
    """What the lines of loop.md make of the setting, with the page's settings of IMA."""
    names = setting()
    settings = {"eps_max": 2.0, "norm": "l2", "first_pass": True}
    exec(loop_lines().replace('IMA(eps_max=1.0, norm="l2")', f"IMA(**{settings})"), names)
    assert names["ima"].first_pass
    return names


def assert_same_training(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert_same_weights(ours["network"].state_dict(), theirs["network"].state_dict())
    margins, other = ours["ima"].margins, theirs["ima"].margins
    assert margins.ids() == other.ids()
    assert torch.equal(margins.values(), other.values())
    assert len(set(margins.values().tolist())) > 3


def test_the_settings_of_the_loop_are_those_of_the_page():
    (line,) = re.findall(r"`ima = (IMA\(.*?\))`", (REPO / "docs/howto/script.md").read_text())
    assert line in sections()["A Lightning module"][0]
    assert line.removeprefix("IMA") in sections()["A `SupervisedTrainer`"][0]


def test_the_trainer_that_is_shown_equals_the_loop_bit_for_bit(loop):
    names = setting()
    run("A `SupervisedTrainer`", names)
    assert_same_training(names, loop)


def test_the_lightning_module_that_is_shown_equals_the_loop_bit_for_bit(loop, tmp_path, monkeypatch):
    quiet_lightning(monkeypatch, tmp_path)
    names = setting()
    run("A Lightning module", names, 0)
    trainer = names["trainer"]
    assert_same_training({**names, "ima": trainer.lightning_module.ima}, loop)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged == {f"ima/{name}": pytest.approx(value, rel=1e-6) for name, value in loop["scalars"].items()}


def test_a_resumed_lightning_training_equals_an_unbroken_one(tmp_path, monkeypatch):
    quiet_lightning(monkeypatch, tmp_path)
    module, resumed = sections()["A Lightning module"]
    known: dict[str, Any] = {}
    for interrupted in (None, tmp_path / "checkpoints" / "epoch=1.ckpt"):
        names = {**setting(), "interrupted": interrupted}
        exec(module[: module.index("trainer = ")], names)
        exec(resumed, names)
        names["ima"] = names["trainer"].lightning_module.ima
        assert names["trainer"].current_epoch == EPOCHS
        if known:
            assert_same_training(names, known)
        known = names


def test_lightnings_precision_holds_for_attacks_and_margin_pass(tmp_path, monkeypatch):
    quiet_lightning(monkeypatch, tmp_path)
    names = setting()
    seen = set()
    names["network"].register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    names["trainer_settings"] = {"precision": "bf16-mixed"}
    block = sections()["A Lightning module"][0]
    exec(block.replace("Trainer(max_epochs", "Trainer(**trainer_settings, max_epochs"), names)
    assert seen == {torch.bfloat16}
    assert {weight.dtype for weight in names["network"].parameters()} == {torch.float32}


def test_before_after_and_exports_are_measured(tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    names = setting()
    plain = copy.deepcopy(names["network"])
    run("Before", names)
    run("A `SupervisedTrainer`", names)
    run("After, and export", names)
    before, after, exported = (names[name] for name in ("before", "after", "exported"))
    assert before.levels == after.levels == [0.0, 0.1, 0.3]
    for network, measured in ((plain, before), (names["network"], after)):
        assert measured.strongest.values[0] == accuracy(network, names["test_loader"])
    assert after.strongest.values[-1] > before.strongest.values[-1]
    assert exported.strongest.values == after.strongest.values
    assert exported.samples == after.samples
    image = torch.stack([item["image"] for item in blobs(7, seed=2)])
    logits = names["network"](image).detach()
    torch.testing.assert_close(torch.jit.load("network.ts")(image), logits, rtol=0, atol=1e-5)
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), logits, rtol=0, atol=1e-5)


@torch.no_grad()
def accuracy(network: nn.Module, loader: DataLoader) -> float:
    network.eval()
    (correct,) = zip(*([float(c)] for b in loader for c in network(b["image"]).argmax(1) == b["label"]), strict=True)
    return sum(correct) / len(correct)
