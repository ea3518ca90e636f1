"""Constant steps or steps that fall along a cosine: how few steps of PGD and B-PGD are as good as the paper's?

Two tasks, real data: Fashion-MNIST (the paper's network, a subset of the images) and hippocampus scans (the bundle's
small U-Net and list of scans, cut or padded to 40 x 56 x 40 voxels, from the bundle's plain-trained weights). Both
norms, three seeds. Parts:

1. ``attack``: of a network that was briefly PGD-trained. PGD's gain in loss relative to 200 constant steps; B-PGD's
   share of crossings, and its distance relative to the nearest point that :class:`MinimumNorm` finds; PGD that starts
   warm, where it ended on the network as it was one epoch before.
2. ``training``: IMA with the steps of each variant; accuracy (Dice) without noise and under APGD, and the time.

    python benchmarks/schedule.py --data DIR --jobs 2            (hours on a CPU; minutes on a GPU with --jobs 8)

DIR holds fashion_mnist.npz and Task04_Hippocampus. Every part is a record in docs/results/records/schedule, made where
it is missing; with ``--minutes`` no part begins after these. The page, docs/results/schedule.md, is made from the
records that are there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import CenterSpatialCrop, Compose, SpatialPadd
from torch import nn

from gpu_steps import now
from monai_ima.attacks import PGD, AttackSettings, BoundaryPGD, MinimumNorm, attack_from_name
from monai_ima.criteria import ClassificationCriterion, Criterion, DiceCriterion
from monai_ima.methods import IMA
from monai_ima.networks import FashionMNISTNet
from monai_ima.results.provenance import machine, versions
from monai_ima.utils.batch import Batch
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.tensors import plain
from monai_ima.utils.weights import load_weights
from studies import (
    REPO,
    RESULTS,
    CommandLine,
    integer,
    minutes,
    read_json,
    run_one,
    side_by_side,
    table,
    threads_each,
    write_page,
    write_whole,
)

BUNDLE = REPO / "bundles" / "hippocampus_segmentation_ima"
GRID = (40, 56, 40)
SEEDS = (0, 1, 2)
NORMS = ("l2", "linf")
LONG = 200


@dataclass(frozen=True)
class Tried:
    """How ``attack`` goes.

    Attributes:
        schedule: of the steps.
        steps: how many.
        search: of B-PGD, for the boundary on the last step.
        binary_steps: of it.
    """

    schedule: str
    steps: int
    search: str = "bisection"
    binary_steps: int = 10


PAPERS = Tried("constant", 20)
TRIED = (
    PAPERS,
    Tried("constant", 50),
    Tried("constant", 10),
    Tried("constant", 7),
    Tried("cosine", 25),
    Tried("cosine", 12),
    Tried("cosine", 11, "itp", 4),
    Tried("cosine", 8),
    Tried("cosine", 5),
)


@dataclass(frozen=True)
class Variant:
    """How IMA attacks in a training.

    Attributes:
        title: in the table.
        schedule: of both.
        steps: of the training attacks.
        margin_steps: of the margin pass; where margins move online there is none.
        binary_steps: N_binary of both.
        search: for the boundary on the last step, of both.
    """

    title: str
    schedule: str
    steps: int
    margin_steps: int
    binary_steps: int = 10
    search: str = "bisection"


@dataclass(frozen=True)
class Task:
    """What is trained and attacked.

    Attributes:
        load: data, ``(images, labels)`` of training and test, on a device.
        network: a new one, from a seed.
        criterion: of attacks and of IMA.
        judge: of the test samples.
        loss: that training minimises.
        bounds: of the images.
        eps: the four radii of ``attack`` by norm, and IMA's ε_max.
        eps_max: by norm.
        epochs: of IMA.
        batch_size: of IMA; test samples are attacked in batches of four times this.
        learning_rate: Adam's.
        update: of IMA's margins.
        attack: that the test samples are attacked with.
        attacked: test samples of ``attack``, the first ones.
        variants: by name; the first is what the bundle does.
    """

    load: Callable[[Path, torch.device], tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]]
    network: Callable[[int], nn.Module]
    criterion: Criterion
    judge: Criterion
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    bounds: tuple[float, float] | None
    eps: Mapping[str, Sequence[float]]
    eps_max: Mapping[str, float]
    epochs: int
    batch_size: int
    learning_rate: float
    update: str
    attack: str
    attacked: int
    variants: Mapping[str, Variant]


def _fashion_mnist(data: Path, device: torch.device) -> Any:
    with np.load(data / "fashion_mnist.npz") as file:
        parts = [
            (file[f"x_{name}"][:count], file[f"y_{name}"][:count]) for name, count in (("train", 8000), ("test", 1000))
        ]
    return [(torch.tensor(x)[:, None].to(device) / 255, torch.tensor(y).long().to(device)) for x, y in parts]


def _hippocampus(data: Path, device: torch.device) -> Any:
    # Only here: the other task needs no readers of scans.
    from monai.transforms import EnsureChannelFirstd, LoadImaged, NormalizeIntensityd, Orientationd

    from monai_ima.data import volume_datalist

    keys = ["image", "label"]
    items = volume_datalist(
        "hippocampus", data / "Task04_Hippocampus", Path(), split=str(BUNDLE / "configs" / "split.json")
    )
    crop = CenterSpatialCrop(GRID)
    read = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            Orientationd(keys, "RAS", labels=None),
            NormalizeIntensityd("image", channel_wise=True),
            SpatialPadd(keys, GRID),
            lambda item: {key: plain(crop(item[key])) for key in keys},
        ]
    )
    parts = []
    for name in ("train", "test"):
        scans = [read({key: item[key] for key in keys}) for item in items[name]]
        images, labels = (torch.stack([scan[key] for scan in scans]) for key in keys)
        parts.append((images.float().to(device), labels.long().to(device)))
    return parts


def _unet(seed: int) -> nn.Module:
    network = UNet(3, 1, 3, (8, 16, 32, 64), (2, 2, 2), num_res_units=0, norm=("instance", {"affine": True}))
    network.load_state_dict(load_weights(BUNDLE / "models" / "model_ce.pt"))
    return network


def _fashion_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return FashionMNISTNet()


TASKS = {
    "fashion_mnist": Task(
        _fashion_mnist,
        _fashion_network,
        ClassificationCriterion(),
        ClassificationCriterion(),
        nn.CrossEntropyLoss(),
        (0.0, 1.0),
        {"l2": (0.5, 1.0, 2.0, 3.0), "linf": (0.02, 0.05, 0.1, 0.2)},
        {"l2": 3.0, "linf": 0.2},
        6,
        128,
        1e-3,
        "epoch",
        "apgd50-ce+apgd50-dlr",
        128,
        {
            "paper": Variant("constant, 20 and 50 in the margin pass (the paper's)", "constant", 20, 50),
            "constant10": Variant("constant, 10 and 25", "constant", 10, 25),
            "cosine12": Variant("cosine, 12 and 25", "cosine", 12, 25),
            "cosine12b6": Variant("cosine, 12 and 25, 6 bisections", "cosine", 12, 25, 6),
            "cosine11itp": Variant("cosine, 11 and 25, ITP with 4 points (the default)", "cosine", 11, 25, 4, "itp"),
        },
    ),
    "hippocampus": Task(
        _hippocampus,
        _unet,
        DiceCriterion(0.8),
        DiceCriterion("lowest"),
        DiceCELoss(include_background=False, to_onehot_y=True, softmax=True),
        None,
        {"l2": (2.0, 5.0, 10.0, 20.0), "linf": (0.01, 0.025, 0.05, 0.1)},
        {"l2": 20.0, "linf": 0.1},
        5,
        4,
        1e-3,
        "online",
        "apgd20",
        8,
        {
            "constant7": Variant("constant, 7 (the bundle's studies)", "constant", 7, 7),
            "constant20": Variant("constant, 20 (the paper's)", "constant", 20, 20),
            "cosine12": Variant("cosine, 12", "cosine", 12, 12),
            "cosine12b6": Variant("cosine, 12, 6 bisections", "cosine", 12, 12, 6),
            "cosine11itp": Variant("cosine, 11, ITP with 4 points (the default)", "cosine", 11, 11, 4, "itp"),
        },
    ),
}


def parts() -> list[str]:
    """The names of all parts, what decides first."""
    attack = [f"attack-{task}-{norm}-{seed}" for seed, task, norm in product(SEEDS, TASKS, NORMS)]
    training = [
        f"training-{task}-{norm}-{seed}-{variant}"
        for seed, task, norm in product(SEEDS, TASKS, NORMS)
        for variant in TASKS[task].variants
    ]
    return [*training, *attack]


def make(name: str, data: Path, device: torch.device, tiny: bool = False) -> dict[str, Any]:
    """The record of a part."""
    kind, task, norm, seed, *variant = name.split("-")
    loaded = TASKS[task].load(data, device)
    train, test = [tuple(values[:24] for values in pair) for pair in loaded] if tiny else loaded
    setup = Setup(TASKS[task], norm, int(seed), device, train, test, tiny)
    begin = time.perf_counter()
    found = training(setup, TASKS[task].variants[variant[0]]) if kind == "training" else attacks(setup)
    where = {"machine": machine(), "device": _device_name(device), "versions": versions()}
    return {"part": name, **where, "seconds": round(time.perf_counter() - begin, 1), "tiny": tiny, **found}


@dataclass(frozen=True)
class Setup:
    """One part's data and settings."""

    task: Task
    norm: str
    seed: int
    device: torch.device
    train: Any
    test: Any
    tiny: bool

    def attack_settings(self) -> AttackSettings:
        return {"criterion": self.task.criterion, "bounds": self.task.bounds}

    def batches(self, epoch: int, network: nn.Module, shuffled: bool = True) -> Iterator[Batch]:
        """The training set once."""
        images, labels = self.train
        order = torch.arange(len(images))
        if shuffled:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1000 * self.seed + epoch))
        for rows in order.split(self.task.batch_size if shuffled else 4 * self.task.batch_size):
            at = rows.to(self.device)
            yield Batch.of(network, images[at], labels[at], [str(row) for row in rows.tolist()])

    def begin(self) -> nn.Module:
        return self.task.network(self.seed).to(self.device)


def training(setup: Setup, variant: Variant) -> dict[str, Any]:
    """Train with IMA, and attack with APGD."""
    task, network = setup.task, setup.begin()
    epochs = 1 if setup.tiny else task.epochs
    eps_max = task.eps_max[setup.norm]
    method = IMA(
        eps_max,
        setup.norm,
        delta=eps_max / epochs if task.update == "epoch" else eps_max / 5,
        steps=variant.steps,
        margin_steps=variant.margin_steps,
        binary_steps=variant.binary_steps,
        update=task.update,
        schedule=variant.schedule,
        search=variant.search,
        seed=setup.seed,
        criterion=task.criterion,
        bounds=task.bounds,
    )
    optimizer = torch.optim.Adam(network.parameters(), task.learning_rate)
    begin = spent(setup.device)
    for epoch in range(1, epochs + 1):
        network.train()
        method.begin_epoch(epoch, epochs, _Passes(setup, network))
        for batch in setup.batches(epoch, network):
            optimizer.zero_grad()
            method.loss(batch, network(batch.image), task.loss).backward()
            optimizer.step()
        method.end_epoch(_Passes(setup, network))
    seconds = spent(setup.device) - begin
    levels = [0.0, *task.eps[setup.norm]]
    return {
        "levels": levels,
        "scores": robustness(setup, network.eval(), levels),
        "training_seconds": round(seconds, 2),
        "margin_mean": float(np.mean(list(method.margins.values()))),
    }


@dataclass(frozen=True)
class _Passes:
    """The training set in order, as often as a method goes through it."""

    setup: Setup
    network: nn.Module

    def __iter__(self) -> Iterator[Batch]:
        return self.setup.batches(0, self.network, shuffled=False)


def robustness(setup: Setup, network: nn.Module, levels: Sequence[float]) -> list[float]:
    """Mean accuracy or Dice of the test samples at each level, each the worst at any level up to it."""
    task = setup.task
    attack = attack_from_name(task.attack, setup.norm, task.bounds, task.judge)
    worst, scores = None, []
    for eps in levels:
        found = torch.cat([_scores(setup, network, attack, eps, *batch) for batch in _tests(setup)])
        worst = found if worst is None else torch.minimum(worst, found)
        scores.append(float(worst.mean()))
    return scores


def _scores(
    setup: Setup, network: nn.Module, attack: Any, eps: float, first: int, image: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
    image = image if eps == 0 else attack(network, image, label, eps, _streams(setup, first, image)).image
    with torch.no_grad():
        score = setup.task.judge.score(network(image), label)
    return (score > 0).double() if isinstance(setup.task.judge, ClassificationCriterion) else score.double()


def _tests(setup: Setup) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    size = 4 * setup.task.batch_size
    for first in range(0, len(setup.test[0]), size):
        yield first, setup.test[0][first : first + size], setup.test[1][first : first + size]


def _streams(setup: Setup, first: int, image: torch.Tensor) -> list[torch.Generator]:
    return per_sample_generators(f"schedule/{setup.seed}", [str(first + row) for row in range(len(image))])


class _WarmPGD(PGD):
    """PGD that starts at given images in place of a random point."""

    def __init__(self, start: torch.Tensor, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._start = start

    def draw(self, target: Any, radius: torch.Tensor, generator: Any) -> torch.Tensor:
        return self.move(target, self._start[target.rows] - target.image)


def attacks(setup: Setup) -> dict[str, Any]:
    """The attacks on a briefly PGD-trained network, for all their test samples together."""
    task, network, before = setup.task, setup.begin(), setup.begin()
    optimizer = torch.optim.Adam(network.parameters(), task.learning_rate)
    eps = task.eps[setup.norm][1]
    trained_with = PGD(setup.norm, 5, 1, early_stop=False, **setup.attack_settings())
    for epoch in range(1, 2 if setup.tiny else 4):
        before.load_state_dict(network.state_dict())
        network.train()
        for batch in setup.batches(epoch, network):
            noisy = batch.image
            if epoch > 1:
                noisy = trained_with(network, batch.image, batch.label, eps).image
            optimizer.zero_grad()
            task.loss(network(noisy), batch.label).backward()
            optimizer.step()
    network.eval(), before.eval()
    rows = [row for level in task.eps[setup.norm] for row in _attacked(setup, network, before, level)]
    return {"rows": rows}


def _attacked(setup: Setup, network: nn.Module, before: nn.Module, eps: float) -> list[dict[str, Any]]:
    """What every kind of attack reaches at one ε, by row of the page."""
    norm, settings = setup.norm, setup.attack_settings()
    image, label = (values[: setup.task.attacked] for values in setup.test)
    streams = partial(_streams, setup, 0, image)
    loss = setup.task.criterion.loss

    def gain(found: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return (loss(network(found), label) - loss(network(image), label))[correct]

    with torch.no_grad():
        correct = setup.task.criterion(network(image), label)
    last = partial(PGD, norm, restarts=1, early_stop=False, **settings)
    reference = gain(last(LONG)(network, image, label, eps, streams()).image)
    nearest = MinimumNorm(norm, 20 if setup.tiny else 100, **settings)(network, image, label, 1.5 * eps, streams())
    rows = []
    for tried in TRIED:
        schedule, steps = tried.schedule, tried.steps
        found = last(steps, schedule=schedule)(network, image, label, eps, streams()).image
        row: dict[str, Any] = {"eps": eps, **asdict(tried)}
        row["gain"] = _median(gain(found) / reference)
        start = last(steps, schedule=schedule)(before, image, label, eps, streams()).image
        warm = _WarmPGD(start, norm, steps, 1, early_stop=False, schedule=schedule, **settings)
        row["warm_gain"] = _median(gain(warm(network, image, label, eps, streams()).image) / reference)
        for place in ("clean", "ball"):
            attack = BoundaryPGD(
                norm, steps, tried.binary_steps, place, schedule=schedule, search=tried.search, **settings
            )
            begin = spent(setup.device)
            result = attack(network, image, label, eps, streams())
            row[f"{place}_seconds"] = spent(setup.device) - begin
            both = result.success & nearest.success & (nearest.distance > 0)
            row[f"{place}_crossing"] = float(result.success[correct].double().mean())
            row[f"{place}_distance"] = _median(result.distance[both] / nearest.distance[both])
        rows.append(row)
    return rows


def spent(device: torch.device) -> float:
    """A clock: of a CPU, the seconds that this process computed; of a GPU, the time, once it has done its work."""
    return time.process_time() if device.type == "cpu" else now(device)


def _median(values: torch.Tensor) -> float | None:
    finite = values[values.isfinite()].double()
    return float(finite.median()) if len(finite) else None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def page(records: Mapping[str, Mapping[str, Any]], command: str) -> list[str]:
    """The paragraphs of the results page, from the records that are there."""
    devices = sorted({f"{record['device']} ({record['machine']})" for record in records.values()})
    missing = Counter(
        f"`{kind}`, {task}, {norm}, seed {seed}"
        for kind, task, norm, seed, *_ in (name.split("-") for name in parts() if name not in records)
    )
    paragraphs = [
        "# Step lengths of PGD and B-PGD: constant, or falling along a cosine",
        f"    {command}",
        "Real data: Fashion-MNIST (8000 training images, 1000 test images, 6 epochs of IMA with FashionMNISTNet) "
        "and MSD hippocampus scans (140 to train, 40 to test, 5 epochs of IMA from the bundle's plain-trained small "
        f"U-Net). Seeds {', '.join(map(str, SEEDS))}. Machine: {'; '.join(devices)}. Times are wall times of processes "
        'that ran side by side on the GPU, CPU seconds of a process on the CPU: compare rows, not tables; "-" was made '
        "on another machine than the first row. The CPU's parts were made beside other work: their times scatter.",
        "The 25 cosine steps of margin passes that search by bisection had 8 steps of the walk to the surface in these "
        "records; today they have 9.",
    ]
    if missing:
        paragraphs.append(f"Not made yet: {'; '.join(missing)}.")
    for task, norm in product(TASKS, NORMS):
        paragraphs += _training_section(records, task, norm) + _attack_section(records, task, norm)
    return paragraphs


def _training_section(records: Mapping[str, Mapping[str, Any]], task: str, norm: str) -> list[str]:
    variants = TASKS[task].variants
    found = {
        variant: {seed: records.get(f"training-{task}-{norm}-{seed}-{variant}") for seed in SEEDS}
        for variant in variants
    }
    first = found[next(iter(variants))]
    rows = []
    for variant, by_seed in found.items():
        seeds = [seed for seed in SEEDS if by_seed[seed] is not None and first[seed] is not None]
        if not seeds:
            continue
        pairs: list[tuple[Any, Any]] = [(by_seed[seed], first[seed]) for seed in seeds]
        scores = np.array([one["scores"] for one, _ in pairs])
        apart = np.array([np.subtract(one["scores"], other["scores"]) for one, other in pairs])
        cells = [f"{mean:.3f}" for mean in scores.mean(axis=0)]
        if by_seed is not first:
            spread = zip(apart.min(axis=0), apart.max(axis=0), strict=True)
            cells = [f"{cell} ({lo:+.3f} to {hi:+.3f})" for cell, (lo, hi) in zip(cells, spread, strict=True)]
        times = [one["training_seconds"] / other["training_seconds"] for one, other in pairs if _beside(one, other)]
        margin = statistics.fmean(one["margin_mean"] for one, _ in pairs)
        rows.append(
            [
                variants[variant].title,
                *cells,
                f"{margin:.3g}",
                f"{statistics.median(times):.2f}" if times else "-",
                str(len(seeds)),
            ]
        )
    if not rows:
        return []
    levels = [f"ε = {level:g}" if level else "clean" for level in (0.0, *TASKS[task].eps[norm])]
    what = "Accuracy" if task == "fashion_mnist" else "Mean foreground Dice"
    return [
        f"## IMA trained with each schedule: {task}, {norm}, ε_max {TASKS[task].eps_max[norm]:g}",
        f"{what} of the test samples under {TASKS[task].attack}, mean over the seeds; in brackets the smallest and the "
        "largest difference from the first row among the seeds.",
        table(["steps", *levels, "margins: mean", "training time / first row's", "seeds"], rows),
    ]


def _beside(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two parts were made on one machine, so that their times can be compared."""
    return (one["device"], one["machine"]) == (other["device"], other["machine"])


def _attack_section(records: Mapping[str, Mapping[str, Any]], task: str, norm: str) -> list[str]:
    found = [record for seed in SEEDS if (record := records.get(f"attack-{task}-{norm}-{seed}")) is not None]
    if not found:
        return []
    rows = []
    for rows_of_seeds in zip(*(record["rows"] for record in found), strict=True):
        row = rows_of_seeds[0]
        names = ("gain", "warm_gain", "clean_crossing", "clean_distance", "ball_crossing", "ball_distance")
        means = [[one[name] for one in rows_of_seeds if one[name] is not None] for name in names]
        cells = ["-" if not values else f"{statistics.fmean(values):.3f}" for values in means]
        slow = [_papers(record["rows"], row["eps"])["clean_seconds"] for record in found]
        time_ratio = statistics.median(
            one["clean_seconds"] / base for one, base in zip(rows_of_seeds, slow, strict=True)
        )
        search = f", ITP with {row['binary_steps']} points" if row["search"] == "itp" else ""
        steps = f"{row['schedule']}, {row['steps']}{search}"
        rows.append([f"{row['eps']:g}", steps, *cells, f"{time_ratio:.2f}"])
    head = [
        "ε",
        "steps",
        "gain",
        "gain, warm start",
        "crossing (clean start)",
        "distance",
        "crossing (start in the ball)",
        "distance",
        "B-PGD's time / constant, 20",
    ]
    return [
        f"## Attacks on a briefly PGD-trained network: {task}, {norm}",
        f"The first {TASKS[task].attacked} test samples. Gain: of PGD's loss, in the median over the samples, relative "
        f"to {LONG} constant steps from a random start. "
        "Warm start: from where the same attack ended on the network of one epoch before. Crossing: share of the "
        "correct samples for which B-PGD crosses the boundary. Distance: B-PGD's over MinimumNorm's (100 steps), "
        f"median over the samples that both broke. Means over {len(found)} seed(s).",
        table(head, rows),
    ]


def _papers(rows: Sequence[Mapping[str, Any]], eps: float) -> Mapping[str, Any]:
    return next(row for row in rows if row["eps"] == eps and row.items() >= asdict(PAPERS).items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the parts that are missing, and write the page.

    Args:
        arguments: of the command line; ``--help`` lists them.
    """
    begin = time.monotonic()
    options = _parser().parse_args(arguments)
    options.records.mkdir(parents=True, exist_ok=True)
    if options.action == "one":
        record = make(options.part, options.data, torch.device(options.device), options.tiny)
        write_whole(options.records / f"{options.part}.json", _json(record))
        return
    names = [name for name in parts() if options.only in name and not (options.records / f"{name}.json").is_file()]

    def run(name: str) -> None:
        if time.monotonic() - begin < 60 * options.minutes:
            shared = ("--data", options.data, "--records", options.records, "--device", options.device)
            run_one(
                __file__,
                [*shared, "--part", name, *(["--tiny"] * options.tiny)],
                log,
                threads_each(options.jobs),
                False,
            )

    log = options.records / "log.txt"
    side_by_side(names, run, options.jobs, "schedule")
    records = {file.stem: read_json(file) for file in options.records.glob("*.json")}
    write_page(options.page, page(records, "python benchmarks/schedule.py --data DIR"))


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = CommandLine(__doc__)
    parser.add_argument("action", nargs="?", choices=("all", "one"), default="all", help="one: a single part, --part")
    parser.add_argument("--data", type=Path, required=True, help="folder with fashion_mnist.npz, Task04_Hippocampus")
    parser.add_argument("--part", choices=parts(), help="of `one`")
    parser.add_argument("--only", default="", help="make the parts whose names hold this text")
    parser.add_argument("--jobs", type=integer(1), default=1, help="parts at a time")
    parser.add_argument("--minutes", type=minutes, default=math.inf, help="no part begins after these")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a trial: 24 samples, one epoch")
    parser.add_argument("--records", type=Path, default=RESULTS / "records" / "schedule")
    parser.add_argument("--page", type=Path, default=RESULTS / "schedule.md")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
