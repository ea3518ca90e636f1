"""Small data, networks and trainers to train with a handler, for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import nn


def blobs(count: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Two overlapping classes of 1x4x4 images."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (count,), generator=generator)
    image = torch.randn(count, 1, 4, 4, generator=generator) + (label[:, None, None, None] * 2 - 1) * 0.4
    return [{"image": image[i], "label": int(label[i]), "sample_id": f"case{seed}/{i:03d}"} for i in range(count)]


def stacked(items: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels as one batch."""
    return torch.stack([item["image"] for item in items]), torch.stack([torch.as_tensor(i["label"]) for i in items])


def small_network(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 2))


class Bfloat16Trainer(SupervisedTrainer):
    """Mixed precision on a CPU."""

    def _iteration(self, engine, batchdata):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super()._iteration(engine, batchdata)


def make_trainer(
    network, data, handlers, epochs=1, batch_size=8, shuffle=False, lr=0.05, kind=SupervisedTrainer, **kwargs
):
    """A trainer of a list of items, a data set or a ``loader``; SGD, cross-entropy unless ``kwargs`` say otherwise."""
    data_set = Dataset(data) if isinstance(data, list) else data
    loader = kwargs.pop("loader", None)
    return kind(
        device=kwargs.pop("device", "cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(data_set, batch_size=batch_size, shuffle=shuffle) if loader is None else loader,
        network=network,
        optimizer=kwargs.pop("optimizer", None) or torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=kwargs.pop("loss_function", None) or nn.CrossEntropyLoss(),
        train_handlers=handlers,
        **kwargs,
    )


def assert_same_weights(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    """Two state dictionaries are equal, bit for bit."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
