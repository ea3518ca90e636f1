"""docs/howto/loop.md: the plain loop that it shows does what the handler does in a MONAI trainer."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from conftest import REPO
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import nn
from training_runs import assert_same_weights

from monai_ima import handlers
from monai_ima.methods import DDN, IAAT, IMA, MMA, TRADES, Batch, PGDTraining

EPOCHS = 3
CASES = {
    "ima": (IMA, {"eps_max": 1.0}),
    "ima_online": (IMA, {"eps_max": 1.0, "update": "online", "noisy_samples": "boundary"}),
    "ima_from_start": (IMA, {"eps_max": 1.0, "first_pass": True, "start_epoch": 1, "margin_restarts": 2}),
    "pgd": (PGDTraining, {"eps": 0.3}),
    "trades": (TRADES, {"eps": 0.3}),
    "ddn": (DDN, {"eps_max": 1.0, "steps": 5}),
    "iaat": (IAAT, {"eps_max": 1.0, "warmup_epochs": 1}),
    "mma": (MMA, {"eps_max": 1.0}),
}


def shown() -> str:
    (block,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", (REPO / "docs/howto/loop.md").read_text(), re.DOTALL)
    return block


def setting():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    image = torch.rand(21, 1, 4, 4)
    items = [{"image": x, "label": int(x.sum() * 7) % 3, "sample_id": f"s{k}"} for k, x in enumerate(image)]
    loader = DataLoader(Dataset(items), batch_size=6)
    return network, loader, torch.optim.Adam(network.parameters(), lr=0.05), nn.CrossEntropyLoss()


def with_handler(handler):
    network, loader, optimizer, loss_function = setting()
    trainer = SupervisedTrainer("cpu", EPOCHS, loader, network, optimizer, loss_function, train_handlers=[handler])
    trainer.run()
    return network.state_dict(), trainer.state.metrics


def test_the_loop_that_is_shown_equals_the_handler_bit_for_bit():
    network, loader, optimizer, loss_function = setting()
    untrained = copy.deepcopy(network.state_dict())
    names = {"network": network, "loader": loader, "optimizer": optimizer, "loss_function": loss_function}
    names["epochs"] = EPOCHS
    exec(shown(), names)
    handler = handlers.IMAHandler(eps_max=1.0, norm="l2")
    weights, metrics = with_handler(handler)
    assert_same_weights(network.state_dict(), weights)
    assert not torch.equal(untrained["0.weight"], weights["0.weight"])
    assert names["ima"].margins.state_dict()["ids"] == [f"s{k}" for k in sorted(range(21), key=str)]
    assert torch.equal(names["ima"].margins.values(), handler.margins.values())
    assert len(set(handler.margins.values().tolist())) > 3
    assert names["scalars"] == {name.removeprefix("ima/"): metrics[name] for name in metrics if name.startswith("ima/")}


@pytest.mark.parametrize(("method_class", "settings"), CASES.values(), ids=CASES)
def test_every_method_gives_the_same_in_a_loop_and_in_a_trainer(method_class, settings):
    method = method_class(**settings)
    network, loader, optimizer, loss_function = setting()

    def training_set():
        return [Batch.of(network, item["image"], item["label"], item["sample_id"]) for item in loader]

    network.train()
    scalars = {}
    for epoch in range(1, EPOCHS + 1):
        method.begin_epoch(epoch, EPOCHS, training_set())
        for batch in training_set():
            loss = method.loss(batch, network(batch.image), loss_function)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scalars = method.end_epoch(training_set())
    handler = getattr(handlers, f"{method_class.__name__}Handler")(**settings)
    weights, metrics = with_handler(handler)
    assert_same_weights(network.state_dict(), weights)
    assert scalars == {k.split("/")[1]: v for k, v in metrics.items() if k.startswith(f"{method.name}/")}
    assert hasattr(handler, "margins") == hasattr(method, "margins")
    if hasattr(method, "margins"):
        assert torch.equal(method.margins.values(), handler.margins.values())


def test_a_batch_needs_as_many_labels_and_ids_as_images():
    network = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Got 3 images, 2 labels and 3 ids, expected as many of each"):
        Batch.of(network, torch.rand(3, 2), torch.tensor([0, 1]), ["a", "b", "c"])


def test_what_a_sample_cannot_be_trained_on_is_named():
    network, image = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(2, 1, 2, 2)
    method = IMA(eps_max=1.0)
    method.begin_epoch(1, 2)
    for change, label, problem in (
        (None, [0, 5], "'b' has label 5"),
        (float("nan"), [0, 1], "'b' has an image with NaN"),
    ):
        noisy = image.clone()
        if change is not None:
            noisy[1] = change
        batch = Batch.of(network, noisy, torch.tensor(label), ["a", "b"])
        with pytest.raises(ValueError, match=problem):
            method.loss(batch, network(noisy), nn.CrossEntropyLoss())
