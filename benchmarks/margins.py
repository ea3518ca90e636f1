"""Are B-PGD's distances margins? Found over smallest distance known, from the clean image and from the ball, real data.

On test samples of Fashion-MNIST (784 pixels) and ECG beats (187 samples), with the paper's networks trained plainly for
a few epochs, and on test scans of the hippocampus (some 100 000 voxels) with the bundle's plain network, Dice threshold
0.75. "Smallest known" is the nearest boundary that anything finds: minimum-norm search, DDN from several first radii
(L2) and all rows of the table.

    python benchmarks/margins.py --data DIR      (DIR holds fashion_mnist.npz, heartbeat/, Task04_Hippocampus/)

Writes docs/results/margins.md. Each part leaves a record in docs/results/records/margins, and is not measured again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from monai_ima.attacks import DDN, Attack, BoundaryPGD, MinimumNorm, attack_mode
from monai_ima.criteria import Criterion, DiceCriterion
from monai_ima.evaluation.batch import EvaluationBatch, evaluation_batch
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.harden.loading import load_bundle
from monai_ima.utils.generators import per_sample_generators
from studies import REPO, RESULTS, CommandLine, chosen, kept, read_json, setting, table, train_bundle, write_page

STARTS: dict[str, dict[str, Any]] = {
    "ball, 20 steps": {"start": "ball", "steps": 20},
    "ball, 50 steps": {"start": "ball", "steps": 50},
    "clean image, 20 steps": {"steps": 20},
    "clean image, 50 steps": {"steps": 50},
    "clean image, 100 steps": {"steps": 100},
    "clean image, 50 steps, 3 restarts": {"steps": 50, "restarts": 3},
}


@dataclass(frozen=True)
class Part:
    """A data set, a norm and balls.

    Attributes:
        title: of its table.
        bundle: name of the bundle, without ``_ima``.
        data: below the data folder.
        norm: ``"l2"`` or ``"linf"``.
        eps: radii of the balls, the largest being the paper's ε_n.
        batch: samples at a time.
        batches: number of them.
        steps: of the search for the smallest distance.
        epochs: of plain training; None for the bundle's plain network.
        settings: config ids.
        threshold: of Dice; None for a classifier.
    """

    title: str
    bundle: str
    data: str
    norm: str
    eps: tuple[float, ...]
    batch: int
    batches: int
    steps: int = 100
    epochs: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()
    threshold: float | None = None

    @property
    def root(self) -> Path:
        """The bundle's folder."""
        return REPO / "bundles" / f"{self.bundle}_ima"

    @property
    def criterion(self) -> Criterion | None:
        """What is correct; None for the attack's default."""
        return None if self.threshold is None else DiceCriterion(self.threshold)


IMAGES = (("subset", 4000), ("val_count", 1000), ("batch_size", 64))
BEATS = (("batch_size", 16),)
FASHION_MNIST = Part(
    "Fashion-MNIST, L2", "fashion_mnist_classification", "", "l2", (1.0, 5.0), 128, 2, epochs=8, settings=IMAGES
)
ECG = Part("ECG beats, L2", "ecg_classification", "heartbeat", "l2", (0.3, 1.5), 250, 1, epochs=30, settings=BEATS)
SCANS = ("Hippocampus, L2, Dice 0.75", "hippocampus_segmentation", "Task04_Hippocampus")
PARTS = {
    "fashion_mnist_l2": FASHION_MNIST,
    "fashion_mnist_linf": replace(FASHION_MNIST, title="Fashion-MNIST, L∞", norm="linf", eps=(0.06, 0.3)),
    "ecg_l2": ECG,
    "ecg_linf": replace(ECG, title="ECG beats, L∞", norm="linf", eps=(0.06, 0.3)),
    "hippocampus": Part(*SCANS, "l2", (15.0, 40.0), 1, 6, steps=60, threshold=0.75),
}


def load(part: Part, data: Path, out: Path) -> LoadedBundle:
    """The part's network on its test samples, trained first where the bundle has no weights."""
    folder = str(data / part.data)
    if part.epochs is None:
        return load_bundle(part.root, checkpoint=part.root / "models" / "model_ce.pt", dataset_dir=folder)
    settings: dict[str, Any] = {"dataset_dir": folder, **dict(part.settings)}
    last = train_bundle(
        part.root,
        out / part.bundle / "model_ce_last.pt",
        ["train_ce.json"],
        epochs=part.epochs,
        val_interval=part.epochs + 1,
        **settings,
    )
    settings["batch_size"] = part.batch
    settings.pop("subset", None)
    return load_bundle(part.root, checkpoint=last, split="test", **settings)


def searches(part: Part, bounds: Sequence[float] | None) -> list[Attack]:
    """Attacks that look for the smallest distance; minimum-norm search comes first."""
    common: dict[str, Any] = {"bounds": bounds, "criterion": part.criterion}
    found: list[Attack] = [MinimumNorm(part.norm, part.steps, **common)]
    if part.norm == "l2":
        found += [DDN(2 * part.steps, init_eps=part.eps[-1] / k, **common) for k in (5, 25)]
    return found


def measure(part: Part, loaded: LoadedBundle) -> dict[str, Any]:
    """Distances of all rows and the smallest known, of the samples that are correct without an attack."""
    common: dict[str, Any] = {"bounds": loaded.bounds, "criterion": part.criterion}
    rows: dict[str, list[float | None]] = {}
    smallest: list[float] = []
    with attack_mode(loaded.network):
        for batchdata in tqdm(islice(loaded.data_loader, part.batches), desc=part.title, total=part.batches):
            prepared = loaded.prepare_batch(batchdata, loaded.device)
            batch = evaluation_batch(batchdata, prepared, loaded.inferer, loaded.network)
            tried = {}
            for eps in part.eps:
                for name, settings in STARTS.items():
                    delta = eps / 60 if settings.get("start") == "ball" else 0.0
                    attack = BoundaryPGD(part.norm, delta=delta, **settings, **common)
                    tried[f"{eps:g}|{name}"] = _distances(attack, batch, eps, name)
            tried["minimum-norm search"], *others = (
                _distances(attack, batch, part.eps[-1], str(k))
                for k, attack in enumerate(searches(part, loaded.bounds))
            )
            every = torch.stack([*tried.values(), *others]).amin(dim=0)
            known = every.isfinite().nonzero().flatten().tolist()
            smallest += [float(every[row]) for row in known]
            for name, distances in tried.items():
                found = [float(distances[row]) for row in known]
                rows.setdefault(name, []).extend(value if value < torch.inf else None for value in found)
    return {"smallest": smallest, "rows": rows, "where": setting(torch.get_num_threads(), "part")}


def _distances(attack: Attack, batch: EvaluationBatch, eps: float, purpose: str) -> torch.Tensor:
    """Distance to the boundary that an attack finds, infinite where it finds none or there is none: ``[B]``."""
    streams = per_sample_generators(f"margins/{purpose}", batch.sample_ids)
    result = attack(batch.predict, batch.image, batch.label, eps, streams)
    found = result.success & result.clean_correct
    return torch.where(found, result.distance, torch.inf).cpu()


def section(part: Part, record: dict[str, Any]) -> list[str]:
    """Paragraphs on a part."""
    smallest = torch.tensor(record["smallest"], dtype=torch.float64)
    rows = []
    for name, found in record["rows"].items():
        eps, _, start = name.rpartition("|")
        distance, crossed, ratio = _ratios(record, found)
        figures = [
            distance[crossed].mean(),
            smallest[crossed].mean(),
            ratio.quantile(0.5),
            ratio.quantile(0.9),
            ratio.max(),
        ]
        cells = [f"{value:.3g}" for value in figures[:2]] + [f"{value:.2f}" for value in figures[2:]]
        rows.append([start, eps or f"{part.eps[-1]:g}", f"{crossed.double().mean():.3f}", *cells])
    head = ["start of B-PGD", "ε", "crossing", "mean distance", "mean smallest known"]
    return [
        f"## {part.title}",
        f"{len(smallest)} samples whose boundary is known, smallest distances {smallest.min():.3g} to "
        f"{smallest.max():.3g}; {record['where']}.",
        table([*head, "ratio: median", "90 %", "largest"], rows),
    ]


def _ratios(record: dict[str, Any], found: list[float | None]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distances, which are of samples that cross, and these samples' distances over the smallest known."""
    distance = torch.tensor([torch.inf if value is None else value for value in found], dtype=torch.float64)
    crossed = distance.isfinite()
    return distance, crossed, (distance / torch.tensor(record["smallest"], dtype=torch.float64))[crossed]


def summary(records: dict[str, dict[str, Any]]) -> str:
    """For each start the largest median and the largest 90 % of all parts and balls."""
    rows = []
    for start in STARTS:
        ratios = [
            _ratios(record, found)[2]
            for record in records.values()
            for name, found in record["rows"].items()
            if name.rpartition("|")[2] == start
        ]
        rows.append([start, *(f"{max(ratio.quantile(q) for ratio in ratios):.2f}" for q in (0.5, 0.9))])
    return table(["start of B-PGD", "median, at most", "90 %, at most"], rows)


def write(records: dict[str, dict[str, Any]]) -> None:
    """docs/results/margins.md."""
    paragraphs = [
        "# Are the margins true?",
        "Distance at which B-PGD (`BoundaryPGD`, Algorithm 3) meets the boundary over the smallest distance known, of "
        "the samples that cross. A margin pass of IMA has 50 steps, a training attack 20.",
        "    python benchmarks/margins.py --data DIR        (seed 0)",
        "The largest of the ratios below, over all data sets, norms and balls; the more the ball is larger than the "
        "margin, the larger they are:",
        summary(records),
        *(paragraph for name, record in records.items() for paragraph in section(PARTS[name], record)),
    ]
    write_page(RESULTS / "margins.md", paragraphs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what has no record yet, write the page.

    Args:
        arguments: of the command line.

    Raises:
        SystemExit: with code 2 if an argument cannot be used.
    """
    parser = CommandLine(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/margins"), help="folder for weights")
    parser.add_argument("--records", type=Path, default=RESULTS / "records" / "margins", help="folder for records")
    parser.add_argument("--parts", help="only these, separated by commas")
    options = parser.parse_args(arguments)
    try:
        names = chosen("part", options.parts, PARTS)
    except ValueError as error:
        parser.error(str(error))
    for name in names:
        if not (options.data / PARTS[name].data).is_dir():
            parser.error(f"Folder {options.data / PARTS[name].data} does not exist, expected the data of {name}.")
    logging.disable(logging.INFO)
    options.records.mkdir(parents=True, exist_ok=True)

    def measured(name: str) -> dict[str, Any]:
        torch.manual_seed(0)
        return measure(PARTS[name], load(PARTS[name], options.data, options.out))

    files = {name: options.records / f"{name}.json" for name in PARTS}
    for name in names:
        kept(files[name], partial(measured, name))
    write({name: read_json(file) for name, file in files.items() if file.is_file()})


if __name__ == "__main__":
    main()
