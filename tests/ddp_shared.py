"""Run by torchrun in the tests: margin passes and robust validation of a hardened training, by two processes or one."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from conftest import REPO
from ignite.metrics import Accuracy
from monai.data import Dataset, DistributedSampler
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler, from_engine
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from training_runs import blobs, make_trainer, small_network

from monai_ima.attacks import PGD
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.handlers import AdversarialTrainingHandler, RobustValidation
from monai_ima.methods import IMA

EPOCHS = 3
SETTINGS: dict[str, Any] = {
    "eps_max": 4.0,
    "norm": "l2",
    "delta": 0.2,
    "first_pass": True,
    "steps": 5,
    "margin_steps": 10,
}
attacked: Counter[str] = Counter()
"""How many samples this process has attacked, by purpose."""


class CountedPGD(PGD):
    """Counts the samples that it attacks."""

    def __call__(self, network: Any, image: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        attacked["validation"] += len(image)
        return super().__call__(network, image, *arguments, **named)


class CountedIMA(IMA):
    """Counts the samples that its margin passes attack."""

    def attack_batch(self, attack: Any, batch: Any, *arguments: Any, **named: Any) -> Any:
        attacked[arguments[1] if len(arguments) > 1 else "training"] += len(batch.image)
        return super().attack_batch(attack, batch, *arguments, **named)


class CountedIMAHandler(AdversarialTrainingHandler, method=CountedIMA): ...


def loader_of(count: int, seed: int, size: int, whole_batch: int, even: bool) -> DataLoader:
    data = Dataset(blobs(count, seed))
    sampler = DistributedSampler(data, even_divisible=even, shuffle=False) if size > 1 else None
    return DataLoader(data, batch_size=whole_batch // size, sampler=sampler)


def train(folder: Path, size: int) -> dict[str, Any]:
    """A hardened training with robust validation; two processes take half of each batch of one."""
    attacked.clear()
    network = small_network()
    wrapped = DistributedDataParallel(network) if size > 1 else network
    handler = CountedIMAHandler(**SETTINGS)
    validation = loader_of(21, 1, size, 6, even=False)

    def evaluator(kind: str, **arguments: Any) -> SupervisedEvaluator:
        metric = {kind: Accuracy(output_transform=from_engine(["pred", "label"]))}
        return SupervisedEvaluator("cpu", validation, wrapped, key_val_metric=metric, **arguments)

    attack = CountedPGD("l2", 5, 2)
    clean = evaluator("clean")
    robust = evaluator("robust", prepare_batch=AdversarialPrepareBatch(wrapped, attack, eps=0.5))
    keep = RobustValidation(clean, robust, wrapped, folder, "model", margins=handler.margins)
    loader = loader_of(24, 0, size, 8, even=True)
    handlers = [handler, ValidationHandler(1, clean), keep]
    trainer = make_trainer(wrapped, None, handlers, epochs=EPOCHS, loader=loader)
    trainer.run()
    return {
        **state(network, handler.margins),
        "metrics": trainer.state.metrics,
        "best": [keep.best, keep.weights.best_epoch],
        "attacked": dict(attacked),
    }


def lightning_module_of_the_page(size: int) -> dict[str, Any]:
    """The lines of docs/howto/script.md with ``strategy="ddp"``."""
    network = small_network()
    names: dict[str, Any] = {
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05),
        "loss_function": nn.CrossEntropyLoss(),
        "loader": loader_of(24, 0, size, 8, even=True),
        "epochs": EPOCHS,
        "settings": SETTINGS,
    }
    text = (REPO / "docs/howto/script.md").read_text().split("## A Lightning module")[1]
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    code = re.sub(r"IMA\(eps_max.*?\)", "IMA(**settings)", code)
    quiet = "accelerator='cpu', logger=False, enable_checkpointing=False, enable_progress_bar=False"
    code = re.sub(
        r"Trainer\(.*?\)\n",
        f"Trainer(max_epochs=epochs, strategy='ddp', devices={size}, {quiet}, enable_model_summary=False)\n",
        code,
    )
    exec(code, names)
    ima = names["trainer"].lightning_module.ima
    assert isinstance(ima, IMA)
    return state(network, ima.margins)


def state(network: nn.Module, margins: Any) -> dict[str, Any]:
    weights = torch.cat([value.flatten() for value in network.state_dict().values()]).tolist()
    return {"weights": weights, "margins": {sample_id: margins[sample_id] for sample_id in margins.ids()}}


def main(out: Path) -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    rank, size = dist.get_rank(), dist.get_world_size()
    results = {"monai": train(out / "weights", size)}
    if importlib.util.find_spec("lightning"):
        results["lightning"] = lightning_module_of_the_page(size)
    (out / f"rank{rank}.json").write_text(json.dumps(results))
    dist.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
