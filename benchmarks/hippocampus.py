"""IMA beside plain and fixed-ε training on real hippocampus scans, all from the same start for as many epochs.

The small network of the bundle ``hippocampus_segmentation_ima``, its fixed list of scans (140 to train, 20 to validate,
40 to test), robustness as mean foreground Dice under 100-step PGD with 2 restarts on each of three losses (soft Dice,
cross-entropy, both; the worst image of a scan counts). An interrupted run is resumed.

    python benchmarks/hippocampus.py --data DIR      (folder in MSD layout: Task04_Hippocampus)
    python benchmarks/hippocampus.py --data DIR --network dynunet      (for a GPU: the rows of the bundle's DynUNet)

In these rows B-PGD starts in the ball. What true margins do to training, from the clean image, is studied by
``benchmarks/hippocampus_starts.py``.

Writes docs/results/hippocampus.md (hippocampus_dynunet.md) with figures; weights, records and logs stay in
``runs/hippocampus`` (``runs/hippocampus_dynunet``).
"""

from __future__ import annotations

import csv
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fire
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from tqdm import tqdm

from monai_ima.attacks import attack_from_name
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation.segmentation import SegmentationEvaluator, SegmentationOutcome
from monai_ima.harden.loading import load_bundle
from monai_ima.margins import load_margins
from monai_ima.results.records import ScanRecord
from monai_ima.results.run_folder import RecordFile
from monai_ima.utils.weights import load_weights
from monai_ima.visualize import margin_histogram, robustness_curves
from studies import (
    REPO,
    RESULTS,
    add_time,
    cells,
    level_titles,
    replace_figure,
    run_one,
    setting,
    table,
    threads_each,
    total_time,
    train_bundle,
    write_page,
)

BUNDLE = REPO / "bundles" / "hippocampus_segmentation_ima"
LEVELS = [0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0]
STRONG, QUICK = "pgd100x2+pgd100x2-dice+pgd100x2-ce", "pgd20"
START_EPOCHS, EPOCHS = 60, 15
COMMON = {"batch_size": 2, "val_interval": 5, "steps": 7}
PREFIX = {"small": "model", "dynunet": "model_dynunet"}
BALL = {"train#handlers#0#start": "ball"}
"""B-PGD starts at a random point of the ball, as it did when the shipped weights were made."""


@dataclass(frozen=True)
class Model:
    """One row of the tables.

    Attributes:
        title: in the tables.
        overlay: config on top of train.json; None for IMA.
        settings: ids that are set.
        strong: evaluated under the strong attack too, not the quick one only.
    """

    title: str
    overlay: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    strong: bool = True

    def checkpoint(self, network: str) -> str:
        """Name of the last epoch's file."""
        return PREFIX[network] + {None: "", "train_ce.json": "_ce", "train_pgd.json": "_pgd"}[self.overlay] + "_last.pt"


def _ima(title: str, strong: bool = False, **settings: Any) -> Model:
    return Model(title, settings={"eps_max": 20.0, "delta": 4.0, **BALL, **settings}, strong=strong)


START = Model("start", "train_ce.json", {"epochs": START_EPOCHS})
MODELS = {
    "plain": Model("plain training", "train_ce.json"),
    "pgd5": Model("fixed ε = 5", "train_pgd.json", {"eps": 5.0}),
    "pgd15": Model("fixed ε = 15", "train_pgd.json", {"eps": 15.0}),
    "ima": _ima("IMA, ε_max 20, τ 0.8", strong=True, threshold=0.8),
    "pgd10": Model("fixed ε = 10", "train_pgd.json", {"eps": 10.0}, strong=False),
    "ima_baseline": _ima("IMA, ε_max 10, δ 2, τ baseline", eps_max=10.0, delta=2.0),
    "ima_relative": _ima("IMA, ε_max 20, τ relative:0.95", threshold="relative:0.95"),
    "ima_low": _ima("IMA, ε_max 20, τ 0.7", threshold=0.7),
    "ima_large": _ima("IMA, ε_max 40, δ 8, τ 0.8", eps_max=40.0, delta=8.0, threshold=0.8),
}


def train(model: Model, network: str, data: str, folder: Path, start: Path | None, seed: int) -> Path:
    """Train a model, or go on with it; returns the last epoch's checkpoint."""

    def keep_metrics(engine: Engine) -> None:
        with open(folder / "epochs.jsonl", "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"epoch": engine.state.epoch, **engine.state.metrics}) + "\n")

    def prepare(workflow: ConfigWorkflow) -> None:
        trainer = workflow.parser.get_parsed_content("train#trainer")
        trainer.add_event_handler(Events.EPOCH_COMPLETED, keep_metrics)

    return train_bundle(
        BUNDLE,
        folder / model.checkpoint(network),
        [model.overlay] if model.overlay else [],
        prepare,
        logging_file=None,
        dataset_dir=data,
        start=str(start) if start else None,
        plain_epochs=0,
        **{"epochs": EPOCHS, "seed": seed, "network": network, **COMMON, **model.settings},
    )


def measure(checkpoint: Path, network: str, attack: str, data: str, folder: Path, seed: int) -> SegmentationOutcome:
    """Attack the test scans at every level; records are kept as they come."""
    records = RecordFile(folder / f"{attack}.jsonl", ScanRecord)
    loaded = load_bundle(BUNDLE, checkpoint=checkpoint, dataset_dir=data, network=network, check_files=False)
    attacker = attack_from_name(attack, "l2", criterion=DiceCriterion("lowest"))
    evaluator = SegmentationEvaluator.of_bundle(loaded, attacker, seed)
    begin = time.perf_counter()
    result = evaluator.run(loaded.data_loader, LEVELS, done=records.read(), on_records=records.append)
    add_time(folder, time.perf_counter() - begin)
    return result


def one(name: str, network: str, data: str, out: str, seed: int, threads: int) -> None:
    """Train and measure one model, in a process of its own."""
    torch.set_num_threads(threads)
    logging.getLogger().setLevel(logging.WARNING)
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "start":
        train(START, network, data, folder, None, seed)
        return
    model = MODELS[name]
    checkpoint = train(model, network, data, folder, Path(out) / "start" / START.checkpoint(network), seed)
    for attack in [QUICK, *([STRONG] if model.strong else [])]:
        measure(checkpoint, network, attack, data, folder, seed)


def main(
    data: str,
    network: str = "small",
    out: str | None = None,
    seed: int = 0,
    workers: int = 2,
    ship: bool = False,
) -> None:
    """Train, attack, write the tables.

    Args:
        data: folder of the scans in MSD layout.
        network: small, or dynunet: the rows that are attacked strongly, on a GPU.
        out: folder for weights, records and logs; an interrupted run in it is resumed.
        seed: of data order, start and attacks.
        workers: models at a time, each on its share of the cores.
        ship: put the weights of the start and of IMA into the bundle, as model_ce.pt and model.pt.
    """
    if network not in PREFIX or (ship and network != "small"):
        print(f"Got network {network!r}, expected small or dynunet; only small is shipped.", file=sys.stderr)
        sys.exit(2)
    page = "hippocampus" if network == "small" else f"hippocampus_{network}"
    folder = Path(out or f"runs/{page}")
    folder.mkdir(parents=True, exist_ok=True)
    models = {name: model for name, model in MODELS.items() if network == "small" or model.strong}
    threads = threads_each(workers)

    def run(name: str) -> None:
        run_one(__file__, [name, network, data, folder, seed, threads], folder / f"{name}.log", threads)
        bar.update()
        bar.write(f"{name}: {total_time(folder / name) / 60:.0f} minutes")

    with tqdm(total=1 + len(models), desc="models") as bar, ThreadPoolExecutor(workers) as pool:
        run("start")
        list(pool.map(run, models))
    write_tables(page, network, models, folder, seed, threads)
    if ship:
        for name, model, file in (("start", START, "model_ce.pt"), ("ima", MODELS["ima"], "model.pt")):
            torch.save(load_weights(folder / name / model.checkpoint(network)), BUNDLE / "models" / file)


def write_tables(page: str, network: str, models: dict[str, Model], folder: Path, seed: int, threads: int) -> None:
    """docs/results/PAGE.md and its figures, from the records."""
    strong = {name: _result(folder / name, STRONG) for name, model in models.items() if model.strong}
    quick = {name: _result(folder / name, QUICK) for name in models}
    command = "python benchmarks/hippocampus.py --data Task04_Hippocampus"
    command += "" if network == "small" else f" --network {network}"
    count = len(next(iter(quick.values())).records)
    figure = robustness_curves(
        LEVELS,
        {MODELS[name].title: result.mean() for name, result in strong.items()},
        "l2",
        f"hippocampus, {count} test scans, 100-step PGD x 2 on three losses",
        "mean foreground Dice",
    )
    replace_figure(figure, RESULTS / f"{page}.png")
    _write_scans(RESULTS / f"{page}.csv", strong)
    paragraphs = [
        "# Hippocampus: IMA beside plain and fixed-ε training",
        f"Mean foreground Dice of {count} real test scans (MSD Task04, CC-BY-SA 4.0; list in the bundle's "
        "`configs/split.json`) at L2 noise ε, in units of z-scored volumes.",
        f"    {command}        (seed {seed})",
        f"{setting(threads, 'model')}; "
        f"{sum(total_time(folder / name) for name in ['start', *models]) / 60:.0f} minutes of computing in all "
        "(parts that were broken off are not counted).",
        f"All rows: the bundle's network `{network}`, plain-trained for {START_EPOCHS} epochs, then {EPOCHS} epochs of "
        f"the method in the row's name; weights of the last epoch. Training attacks have {COMMON['steps']} steps.",
        "## Under the strongest attack",
        "100-step PGD, 2 restarts, on each of soft Dice, cross-entropy and both; a scan's worst image counts, and a "
        "worse one found at a smaller ε counts at the larger ones.",
        _dice(strong),
        "IMA's Dice minus the other's, mean over the scans, and its standard error:",
        _differences(strong),
        f"![Dice against ε]({page}.png)",
        "## When does the boundary matter?",
        "The same, and variants of IMA, under a quick attack (20-step PGD, 1 start, on both losses).",
        _dice(quick),
    ]
    rows = []
    for name, model in models.items():
        if model.overlay is None:
            margins = load_margins(folder / name / model.checkpoint(network))
            values = margins.values()
            share = float((values >= margins.eps_max).double().mean())
            title = f"{model.title}: {share:.0%} of {len(margins)} margins at ε_max"
            picture = f"{page}_margins_{name}.png"
            histogram = margin_histogram(values.tolist(), margins.eps_max, float(values.quantile(0.5)), title)
            replace_figure(histogram, RESULTS / picture)
            rows.append([f"[{model.title}]({picture})", f"{values.mean():.1f}", f"{share:.0%}", crossed(folder / name)])
    write_page(
        RESULTS / f"{page}.md", [*paragraphs, table(["IMA", "margins: mean", "at ε_max", "crossed τ, by epoch"], rows)]
    )


def _dice(results: dict[str, SegmentationOutcome]) -> str:
    rows = [[MODELS[name].title, *cells(result.mean())] for name, result in results.items()]
    return table(["training", *level_titles(LEVELS)], rows)


def _differences(results: dict[str, SegmentationOutcome]) -> str:
    rows = []
    ours = _by_scan(results["ima"])
    for name, result in results.items():
        if name != "ima":
            theirs = _by_scan(result)
            paired = torch.tensor([[a - b for a, b in zip(ours[k], theirs[k], strict=True)] for k in ours])
            error = paired.std(dim=0) / len(paired) ** 0.5
            found = zip(paired.mean(dim=0).tolist(), error.tolist(), strict=True)
            rows.append([MODELS[name].title, *(f"{mean:+.3f} ± {spread:.3f}" for mean, spread in found)])
    return table(["IMA minus", *level_titles(LEVELS)], rows)


def _by_scan(result: SegmentationOutcome) -> dict[str, list[float]]:
    return {record.sample_id: [scores.mean("dice") for scores in record.scores] for record in result.records}


def _write_scans(file_name: Path, results: dict[str, SegmentationOutcome]) -> None:
    with open(file_name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["training", "scan", *(f"dice at {level:g}" for level in LEVELS)])
        for name, result in results.items():
            for scan, dice in sorted(_by_scan(result).items()):
                writer.writerow([MODELS[name].title, scan, *(f"{value:.4f}" for value in dice)])


def _result(folder: Path, attack: str) -> SegmentationOutcome:
    return SegmentationOutcome(LEVELS, RecordFile(folder / f"{attack}.jsonl", ScanRecord).read())


def crossed(folder: Path) -> str:
    """Share of the attacked scans that crossed τ, epoch by epoch."""
    epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    return " ".join(f"{epoch['ima/boundary_fraction']:.0%}" for epoch in epochs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        name, network, data, out, seed, threads = sys.argv[2:8]
        one(name, network, data, out, int(seed), int(threads))
    else:
        fire.Fire(main)
