"""IMA from scratch beside IMA from a plain-trained start in a quarter of the epochs, on Fashion-MNIST.

The same network, images and test for both: accuracy without noise and under 100-step PGD with 2 restarts. Fine-tuning
has settings of its own (:data:`FINE`, and a learning rate that falls to 0 along a cosine), chosen on validation images.
Its time is that of IMA alone; plain training, which a user has behind them, is shown beside it.

    python benchmarks/finetune.py --data DIR          (folder with Fashion-MNIST; without one: SYNTHETIC shapes)

Writes docs/results/finetune.md; weights stay in ``runs/finetune``, and finished trainings are not repeated.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import fire
import torch
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import CosineAnnealingLR

from monai_ima.attacks import attack_from_name
from monai_ima.evaluation.classification import ClassificationEvaluator
from monai_ima.harden.loading import load_bundle
from monai_ima.utils.weights import load_network
from studies import REPO, RESULTS, bundle_training, cells, level_titles, read_json, run_one, setting, table, write_page

BUNDLE = REPO / "bundles" / "fashion_mnist_classification_ima"
SUBSET, TEST_SUBSET, VAL_COUNT = 4000, 1000, 1000
EPOCHS, QUARTER = 16, 4
LEVELS, ATTACK = [0.5, 1.0, 2.0, 3.0], "pgd100x2"
IMA = {"eps_max": 5.0, "update": "online", "steps": 10}
HANDLER = {"noisy_samples": "boundary"}
FINE = {"learning_rate": 0.003, "batch_size": 32, "beta": 0.6, "margin_steps": 10}
"""What fine-tuning does otherwise than training from scratch (0.001, 64, 0.5), and steps of its first margin pass."""
TITLES = {
    "scratch": f"IMA from scratch, {EPOCHS} epochs",
    "plain": f"plain training, {EPOCHS} epochs",
    "finetune": f"IMA from that start, {QUARTER} epochs",
}


def train(name: str, folder: Path, data: str | None, seed: int) -> float:
    """Train one of :data:`TITLES`; returns seconds."""
    settings: dict[str, Any] = {"batch_size": 64, **IMA}
    handler: dict[str, Any] = {} if name == "plain" else dict(HANDLER)
    if name == "finetune":
        settings |= FINE
        handler["first_pass"] = True
    workflow = bundle_training(
        BUNDLE,
        folder / name,
        ["train_ce.json"] if name == "plain" else [],
        dataset_dir=data,
        output_dir=str(folder / name),
        seed=seed,
        epochs=QUARTER if name == "finetune" else EPOCHS,
        val_interval=EPOCHS + 1,
        val_count=VAL_COUNT,
        subset=SUBSET if data else None,
        **settings,
        **{f"train#handlers#0#{key}": value for key, value in handler.items()},
    )
    workflow.initialize()
    if name == "finetune":
        load_network(workflow.parser.get_parsed_content("network"), weights(folder, "plain"))
        trainer = workflow.parser.get_parsed_content("train#trainer")
        cosine: Any = CosineAnnealingLR(trainer.optimizer, len(trainer.data_loader) * QUARTER)
        LrScheduleHandler(cosine, print_lr=False, epoch_level=False).attach(trainer)
    begin = time.perf_counter()
    workflow.run()
    seconds = time.perf_counter() - begin
    workflow.finalize()
    return seconds


def weights(folder: Path, name: str) -> Path:
    """The last epoch's checkpoint."""
    return folder / name / ("model_ce_last.pt" if name == "plain" else "model_last.pt")


def measure(name: str, folder: Path, data: str | None, seed: int) -> list[float]:
    """Accuracy of the test images, clean and at every level."""
    loaded = load_bundle(
        BUNDLE,
        checkpoint=weights(folder, name),
        dataset_dir=data,
        val_count=VAL_COUNT,
        subset=SUBSET if data else None,
        test_subset=TEST_SUBSET if data else None,
        batch_size=250,
        seed=seed,
    )
    attack = attack_from_name(ATTACK, "l2", loaded.bounds)
    evaluator = ClassificationEvaluator.of_bundle(loaded, attack, seed)
    return evaluator.run(loaded.data_loader, LEVELS).accuracy()


def one(name: str, folder: Path, data: str | None, seed: int) -> None:
    """Train and measure in a process of its own."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    seconds = train(name, folder, data, seed)
    record: dict[str, Any] = {"seconds": seconds, "accuracy": measure(name, folder, data, seed)}
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def main(data: str | None = None, out: str = "runs/finetune", seed: int = 0) -> None:
    """Train the three one after the other, one thread each, and write the page.

    Args:
        data: folder with Fashion-MNIST; without one the bundle's SYNTHETIC shapes are used.
        out: folder for weights and records.
        seed: of start, batch order and attacks.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TITLES:
        if not (folder / f"{name}.json").is_file():
            print(f"{TITLES[name]} ...", flush=True)
            run_one(__file__, [name, folder, data or "", seed], folder / f"{name}.log", 1)
    records = {name: read_json(folder / f"{name}.json") for name in TITLES}
    scratch = records["scratch"]["seconds"]
    rows = [
        [TITLES[name], f"{record['seconds'] / scratch:.2f}", *cells([*record["accuracy"], fmean(record["accuracy"])])]
        for name, record in records.items()
    ]
    paragraphs = [
        "# Fine-tuning with IMA",
        f"{'Fashion-MNIST' if data else 'SYNTHETIC shapes'}: {SUBSET if data else 'all'} training and "
        f"{TEST_SUBSET if data else 'all'} test images; L2, IMA up to {IMA['eps_max']:g}; {ATTACK}.",
        f"Fine-tuning: learning rate {FINE['learning_rate']:g}, falling to 0 along a cosine, in place of 0.001; "
        f"batches of {FINE['batch_size']} in place of 64; β {FINE['beta']:g} in place of 0.5; margins start with "
        f"a first margin pass of {FINE['margin_steps']} steps. Chosen on validation images.",
        f"    python benchmarks/finetune.py{' --data DIR' if data else ''}        (seed {seed})",
        f"{setting(1, 'training')}. Times as a share of training from scratch, one after the other in one run.",
        table(["training", "time", *level_titles([0, *LEVELS]), "mean"], rows),
    ]
    write_page(RESULTS / "finetune.md", paragraphs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2], Path(sys.argv[3]), sys.argv[4] or None, int(sys.argv[5]))
    else:
        fire.Fire(main)
