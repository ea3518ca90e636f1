"""Run by torchrun in the tests: every method in two processes of which one has no noisy sample, or a single one."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from monai.engines import SupervisedTrainer
from monai.utils import set_determinism
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from training_runs import blobs

from monai_ima import handlers

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "ima": ("IMAHandler", {"eps_max": 1.0, "steps": 2, "margin_steps": 2, "binary_steps": 1}),
    "ima_online": ("IMAHandler", {"eps_max": 1.0, "steps": 2, "update": "online", "noisy_samples": "boundary"}),
    "pgd": ("PGDTrainingHandler", {"eps": 0.5, "steps": 2}),
    "trades": ("TRADESHandler", {"eps": 0.5, "steps": 2}),
    "iaat": ("IAATHandler", {"eps_max": 1.0, "steps": 2}),
    "mma": ("MMAHandler", {"eps_max": 1.0, "steps": 2}),
    "ddn": ("DDNHandler", {"eps_max": 1.0, "steps": 2}),
}


class RandomDepth(nn.Module):
    """A network that leaves out a block of layers at random."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Tanh())
        self.block = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.last = nn.Linear(16, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.first(image)
        if not self.training or torch.rand(()) < 0.5:
            features = features + self.block(features)
        return self.last(features)


def labelled(network: nn.Module, count: int, correct: int, rank: int) -> list[dict[str, Any]]:
    """Items of which the network predicts the first ``correct`` correctly before it is trained."""
    items = blobs(count, seed=rank)
    with torch.no_grad():
        predicted = network.eval()(torch.stack([item["image"] for item in items])).argmax(dim=1).tolist()
    network.train()
    labels = [p if k < correct else 1 - p for k, p in enumerate(predicted)]
    return [{**item, "label": label} for item, label in zip(items, labels, strict=True)]


def train(method: str, correct: int, unused: bool, rank: int) -> dict[str, Any]:
    set_determinism(3)
    if unused:
        network: nn.Module = RandomDepth()
    else:
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2))
    items = labelled(network, 8, 8 if rank == 0 else correct, rank)
    kind, settings = METHODS[method]
    handler = getattr(handlers, kind)(**settings)
    wrapped = DistributedDataParallel(network, find_unused_parameters=unused)
    SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=DataLoader(items, batch_size=4),
        network=wrapped,
        optimizer=torch.optim.SGD(wrapped.parameters(), lr=1e-4),
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[handler],
    ).run()
    margins = handler.margins if hasattr(handler, "margins") else {}
    found = {} if not margins else {sample_id: margins[sample_id] for sample_id in margins.ids()}
    return {"weights": sum(float(p.double().sum()) for p in network.parameters()), "margins": found}


dist.init_process_group("gloo")
rank = dist.get_rank()
results = {
    f"{method} {correct} {unused}": train(method, correct, unused, rank)
    for method in METHODS
    for correct in (0, 1)
    for unused in (False, True)
}
with open(f"{sys.argv[1]}/rank{rank}.json", "w") as file:
    json.dump(results, file)
dist.destroy_process_group()
