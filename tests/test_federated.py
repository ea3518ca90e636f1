"""docs/howto/federated.md: a hardened bundle in MONAI's federated client; margins stay at their site."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPO
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks.nets import ResNet
from torch import nn
from wild_bundles import small_resnet, zoo_classification

from monai_ima.__main__ import main
from monai_ima.methods import IMA, Batch

ROUNDS = 3
SETTINGS = {
    "norm": "linf",
    "eps_max": 0.3,
    "delta": 0.03,
    "schedule": "constant",
    "steps": 2,
    "margin_steps": 5,
    "binary_steps": 3,
}
FIXED = {"train#random_transforms": [], "train#dataloader#shuffle": False}
NAMES = ("north", "south")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (REPO / "docs/howto/federated.md").read_text(), re.DOTALL)


def options() -> list[str]:
    """Those of the line that is shown, and fewer steps."""
    (line,) = blocks("bash")
    shown = line.split()[line.split().index("harden") + 3 :]
    assert {name.removeprefix("--"): value for name, value in zip(shown[::2], shown[1::2], strict=True)} == {
        name: str(SETTINGS[name]) for name in ("norm", "eps_max", "delta")
    }
    return [part for name, value in {**SETTINGS, "val_steps": 2}.items() for part in (f"--{name}", str(value))]


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """Two sites with bundles of their own and other data, hardened from the weights that they have."""
    found = {}
    for number, name in enumerate(NAMES):
        zoo_classification(tmp_path / name)
        for file in sorted((tmp_path / name / "data").iterdir()):
            np.save(file, np.load(file) * (1 - 0.2 * number))
            file.rename(file.with_name(file.name.replace("_", f"_{name}")))
        assert main(["harden", "--bundle", str(tmp_path / name), *options()]) == 0
        found[name] = tmp_path / name
    return found


def weights_of_the_server(folders: dict[str, Path]) -> dict[str, torch.Tensor]:
    """Trained weights that are not those in the bundles."""
    weights = torch.load(folders["north"] / "models" / "model.pt", weights_only=True)
    return {key: value * 1.2 if key.startswith("fc") else value for key, value in weights.items()}


def federated(folders: dict[str, Path], rounds: int, **changes: Any) -> dict[str, Any]:
    """Run the lines that are shown."""
    names = {"folders": folders, "rounds": rounds, "weights": weights_of_the_server(folders)}
    code = blocks("python")[0]
    assert '{"harden#start#_disabled_": True}' in code
    code = code.replace('{"harden#start#_disabled_": True}', "changes")
    names["changes"] = {"harden#start#_disabled_": True, **FIXED, **changes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, names)
    return names


def margins(site: Any) -> dict[str, float]:
    table = site.train_workflow.parser.get_parsed_content("harden#handler").margins
    return {sample_id: table[sample_id] for sample_id in table.ids()}


class PlainSite:
    """A site as a plain loop: what of it a round of the federation changes."""

    def __init__(self, folder: Path) -> None:
        files = sorted((folder / "data").iterdir())
        images = torch.stack([torch.from_numpy(np.load(file)) for file in files]) / 255
        self.items = list(zip(images, (int(file.name[0]) for file in files), (f.name for f in files), strict=True))
        self.network = ResNet(**{key: value for key, value in small_resnet().items() if key != "_target_"})
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.001)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1)
        self.ima = IMA(**SETTINGS, bounds=(0, 1), first_pass=True)
        self.loss_function = nn.CrossEntropyLoss(reduction="sum")

    def batches(self) -> list[Batch]:
        parts = [zip(*self.items[first : first + 4], strict=True) for first in range(0, len(self.items), 4)]
        return [Batch.of(self.network, torch.stack(x), torch.tensor(y), ids) for x, y, ids in parts]

    def train(self, epoch: int, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.network.load_state_dict(weights)
        self.network.train()
        self.ima.begin_epoch(epoch, 1, self.batches())
        for batch in self.batches():
            loss = self.ima.loss(batch, self.network(batch.image), self.loss_function)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.ima.end_epoch(self.batches())
        self.schedule.step()
        return self.network.state_dict()


def test_three_rounds_equal_plain_loops_whose_weights_are_averaged_by_hand(folders):
    found = federated(folders, ROUNDS)
    plain = {name: PlainSite(folder) for name, folder in folders.items()}
    weights = weights_of_the_server(folders)
    for epoch in range(1, ROUNDS + 1):
        north, south = (site.train(epoch, weights) for site in plain.values())
        weights = {key: (north[key] + south[key]) / 2 for key in north}
    assert found["weights"].keys() == weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(found["weights"][key], value, rtol=1e-5, atol=1e-6)
    for name, site in found["sites"].items():
        own = margins(site)
        expected = plain[name].ima.margins
        assert {Path(sample_id).name: value for sample_id, value in own.items()} == {
            sample_id: pytest.approx(expected[sample_id], abs=1e-6) for sample_id in expected.ids()
        }
        assert all(name in Path(sample_id).name for sample_id in own)
        assert len(own) == 8
        assert len(set(own.values())) > 2
        assert site.trainer.state.epoch == ROUNDS


def test_no_message_has_a_margin(folders):
    site = federated(folders, 1)["sites"]["north"]
    names = set(weights_of_the_server(folders))
    best, last = ({ExtraItems.MODEL_TYPE: kind} for kind in (ModelType.BEST_MODEL, ModelType.FINAL_MODEL))
    for extra in (None, best, last):
        message = site.get_weights(extra)
        assert set(message.weights) == names
        assert not [text for text in map(str, message.values()) if "north" in text]


def test_a_site_that_was_stopped_goes_on_with_its_margins(folders):
    before = {name: margins(site) for name, site in federated(folders, 2)["sites"].items()}
    again = federated(folders, 0, **{"harden#overwrite": True})["sites"]
    restore = blocks("python")[1]
    for name, site in again.items():
        assert margins(site) == {}
        exec(restore, {"folder": folders[name], "site": site})
        assert margins(site) == before[name]
    again["north"].train(ExchangeObject(weights=weights_of_the_server(folders)))
    moved = [abs(value - before["north"][sample_id]) for sample_id, value in margins(again["north"]).items()]
    assert 0 < max(moved) < 0.1
    saved = torch.load(folders["north"] / "models" / "model_ima_last.pt", weights_only=True)
    assert saved["margins"]["ids"] == sorted(before["north"])


@pytest.mark.parametrize("disabled", [True, False])
def test_local_weights_that_take_the_place_of_the_servers_are_told(folders, disabled, caplog):
    with caplog.at_level(logging.WARNING, "monai_ima"):
        federated({"north": folders["north"]}, 1, **{"harden#start#_disabled_": disabled})
    told = [record.message for record in caplog.records if "take the place" in record.message]
    assert len(told) == (0 if disabled else 1)
    if told:
        assert str(folders["north"] / "models" / "model.pt") in told[0]
