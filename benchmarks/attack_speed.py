"""What IMA's training steps and an evaluation with PGD cost: ratios of CPU seconds, side by side in one run.

``overhead``: an IMA step / a bare loop of the passes that it makes of the network. ``defaults``: an IMA step with
cosine steps / one with the paper's settings. ``pgd``: PGD on test images / bare loops of its passes and other
libraries' PGD.

    pip install 'monai-ima[crosscheck]'
    pip install --no-deps torchattacks        (its pins on other packages are not needed here)
    MONAI_IMA_DATA=DIR python benchmarks/attack_speed.py > docs/results/attack_speed.md

Prints a page in markdown. What is compared runs in turn in one process with one thread, some rounds after a warm-up,
each round beginning with another; a ratio is of one round. A library that is not installed has a row that says so.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import fire
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gpu_steps import FORWARD, GRADIENT, BareLoops, Pass, Recorded
from monai_ima.attacks import PGD
from monai_ima.methods import IMA
from monai_ima.networks import FashionMNISTNet
from monai_ima.utils.batch import Batch
from pgd_tools import PACKAGES, TITLES, TOOLS, Run
from studies import chosen, setting, table

TRAIN, BATCH = 4000, 128
TRAINING_STEPS, EPS = 5, 1.0
"""Of the PGD that the network is trained with, and its ε; that of the evaluation is the same."""
LEVELS = (0.1, 0.5, 1.0, 2.0, 3.0)
"""Margins of the samples of a batch."""
PAPER, DEFAULTS = "paper's", "defaults"
METHODS: dict[str, dict[str, Any]] = {
    PAPER: {"schedule": "constant", "steps": 20, "search": "bisection", "binary_steps": 10},
    DEFAULTS: {"schedule": "cosine", "steps": 11, "search": "itp", "binary_steps": 4},
}
"""Settings of IMA that are compared."""
STEPS, RESTARTS, STEP = 100, 2, 0.04
"""Of PGD in an evaluation; the step in units of ε."""
WARM_UP = 8
"""Test images that every attack is warmed up with."""
OVERHEAD, CHEAPER = 1.1, 0.65
SAME, FULL = "bare loop of the same passes", "bare loop in which nobody leaves"
EVALUATION = {FULL: 0.85, "foolbox": 0.6, "torchattacks": 0.85, "art": 0.6}
"""At most this is wanted of the ratios."""


@dataclass
class Data:
    """Fashion-MNIST in [0, 1], ``[N, 1, 28, 28]``, and its classes."""

    image: torch.Tensor
    label: torch.Tensor
    test: torch.Tensor
    test_label: torch.Tensor


def load(images: int) -> Data:
    """The first training images and as many test images as are attacked."""
    folder = os.environ.get("MONAI_IMA_DATA")
    if not folder:
        raise SystemExit("MONAI_IMA_DATA is not set, expected the folder that holds fashion_mnist.npz.")
    with np.load(Path(folder) / "fashion_mnist.npz") as data:
        parts = [data["x_train"][:TRAIN], data["y_train"][:TRAIN], data["x_test"][:images], data["y_test"][:images]]
    image, label, test, test_label = (torch.from_numpy(part) for part in parts)
    return Data(image[:, None] / 255.0, label.long(), test[:, None] / 255.0, test_label.long())


def trained(data: Data) -> nn.Module:
    """An epoch of plain training and one on the images that PGD makes."""
    torch.manual_seed(0)
    network = FashionMNISTNet()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    attack = PGD("l2", TRAINING_STEPS, 1, bounds=(0.0, 1.0), early_stop=False)
    for noisy in (False, True):
        for rows in torch.randperm(len(data.image)).split(BATCH):
            image, label = data.image[rows], data.label[rows]
            if noisy:
                image = attack(network, image, label, EPS).image
            optimizer.zero_grad()
            F.cross_entropy(network(image), label).backward()
            optimizer.step()
    return network.eval()


class Training:
    """IMA steps on one batch with a learning rate of 0, so that every step does the same.

    Args:
        network: trained.
        image: the batch.
        label: its classes.
    """

    def __init__(self, network: nn.Module, image: torch.Tensor, label: torch.Tensor) -> None:
        self.network, self.image, self.label = Recorded(network), image, label
        self.sample_ids = [str(k) for k in range(len(image))]
        self.loss_function = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=0.0)
        self.loops = BareLoops(
            self.network, image, label, label, self.loss_function, self.optimizer, rounds=0, seconds=0.0
        )

    def method(self, margins: list[float], **settings: Any) -> IMA:
        """IMA in an adversarial epoch, every sample with a margin of its own."""
        method = IMA(max(LEVELS), "l2", delta=min(LEVELS), bounds=(0.0, 1.0), update="online", **settings)
        method.begin_epoch(1, 1)
        for sample_id, margin in zip(self.sample_ids, margins, strict=True):
            method.margins[sample_id] = margin
        return method

    def step(self, method: IMA) -> list[Pass]:
        """A training step; returns the passes that it made."""
        self.network.passes.clear()
        self.network.train()
        self.optimizer.zero_grad()
        batch = Batch.of(self.network, self.image, self.label, self.sample_ids)
        method.loss(batch, self.network(self.image), self.loss_function).backward()
        self.optimizer.step()
        return list(self.network.passes)

    def bare(self, passes: list[Pass]) -> None:
        """The same passes, losses and optimizer, nothing else."""
        self.loops.bare(passes)


def bare_attack(network: nn.Module, image: torch.Tensor, label: torch.Tensor, passes: list[Pass]) -> None:
    """Forward and input-gradient passes of an attack, nothing else."""
    for kind, size in passes:
        if kind == FORWARD:
            with torch.no_grad():
                network(image[:size])
        else:
            leaf = image[:size].detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(network(leaf), label[:size]), leaf)


def in_turn(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every round, in which each runs once; every round begins with the next."""
    names, seconds = list(runs), {name: list[float]() for name in runs}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            begin = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - begin)
    return seconds


@dataclass
class Ratio:
    """CPU seconds over others, round by round.

    Attributes:
        ours: of every round.
        other: of the same rounds.
        wanted: the most that is wanted of the median; None: nothing.
    """

    ours: list[float]
    other: list[float]
    wanted: float | None = None
    values: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.values = [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    def __str__(self) -> str:
        return f"{median(self.values):.3f} ({min(self.values):.3f} to {max(self.values):.3f})"

    @property
    def verdict(self) -> str:
        """What is wanted and whether the median is that small."""
        if self.wanted is None:
            return ""
        return f"at most {self.wanted:g}: {'met' if median(self.values) <= self.wanted else 'NOT MET'}"


def counted(passes: list[Pass]) -> str:
    """How many passes of each kind, and of how many images."""
    kinds, images = Counter(kind for kind, _ in passes), Counter[str]()
    for kind, size in passes:
        images[kind] += size
    return "; ".join(f"{kind} {kinds[kind]} ({images[kind]})" for kind in kinds)


def overhead(network: nn.Module, data: Data, rounds: int) -> Iterator[str]:
    """An IMA step and a bare loop of its passes."""
    training = Training(network, data.image[:BATCH], data.label[:BATCH])
    order = torch.randperm(len(training.image), generator=torch.Generator().manual_seed(0))
    margins = torch.linspace(min(LEVELS), max(LEVELS), len(training.image))[order].tolist()
    rows = []
    for name, settings in METHODS.items():
        method = training.method(margins, **settings)
        passes = training.step(method)
        training.bare(passes)
        runs: dict[str, Callable[[], object]] = {
            "step": partial(training.step, method),
            "bare": partial(training.bare, passes),
        }
        seconds = in_turn(runs, rounds)
        ratio = Ratio(seconds["step"], seconds["bare"], OVERHEAD)
        rows.append(
            [f"{name}: {told(settings)}", f"{median(ratio.ours):.2f}", str(ratio), ratio.verdict, counted(passes)]
        )
    yield "## A training step beside its own passes"
    yield (
        f"A step of IMA on {len(training.image)} training images (L2, margins evenly from {min(LEVELS):g} to "
        f"{max(LEVELS):g}, in random order) / a bare loop of the passes that it makes: as many input-gradient passes, "
        "forward passes and passes of the training's two losses, of the same batch sizes, their backward pass and the "
        "optimizer's step. The attack passes of the loop take cross-entropy."
    )
    yield table(["IMA", "CPU seconds of a step", "step / bare loop", "wanted", "passes (images)"], rows)


def told(settings: dict[str, Any]) -> str:
    """Settings of IMA, as they are passed to it."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def defaults(network: nn.Module, data: Data, rounds: int) -> Iterator[str]:
    """IMA steps with cosine steps beside those with the paper's settings, at several radii."""
    training = Training(network, data.image[:BATCH], data.label[:BATCH])
    rows = []
    for k, eps in enumerate(LEVELS):
        methods = {name: training.method([eps] * len(training.image), **settings) for name, settings in METHODS.items()}
        if k == 0:
            for method in methods.values():
                training.step(method)
        runs: dict[str, Callable[[], object]] = {
            name: partial(training.step, method) for name, method in methods.items()
        }
        seconds = in_turn(runs, rounds)
        ratio = Ratio(seconds[DEFAULTS], seconds[PAPER], CHEAPER)
        cross, gradients = [], []
        for name in (PAPER, DEFAULTS):
            gradients.append(str(sum(size for kind, size in training.step(methods[name]) if kind == GRADIENT)))
            crossed, attacked = methods[name].scalar("boundary_fraction")
            cross.append(f"{crossed / attacked:.0%}")
        told_counts = [f"{eps:g}", ", ".join(cross), ", ".join(gradients), f"{median(ratio.other):.2f}"]
        rows.append([*told_counts, str(ratio), ratio.verdict])
    yield "## The new defaults beside the paper's settings"
    yield (
        f"A step of IMA with {told(METHODS[DEFAULTS])} / one with {told(METHODS[PAPER])}, on the same "
        f"{len(training.image)} training images, L2, the margin of every sample ε. Where more samples cross early, "
        "fewer steps save less, and a shorter search for the boundary saves more."
    )
    head = ["ε", "cross: paper's, defaults", "input gradients (images): paper's, defaults", "CPU seconds, paper's"]
    yield table([*head, "defaults / paper's", "wanted"], rows)


def evaluation(network: nn.Module, data: Data, rounds: int) -> Iterator[str]:
    """PGD beside bare loops and other libraries."""
    network.eval()
    image, label = data.test, data.test_label
    recorded, attack = Recorded(network), PGD("l2", STEPS, RESTARTS, alpha=STEP * STEPS, bounds=(0.0, 1.0))

    def ours(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return attack(recorded, x, y, EPS, torch.Generator().manual_seed(0)).image

    def kept(name: str, run: Run) -> None:
        found[name] = run(image, label)

    ours(image[:WARM_UP], label[:WARM_UP])
    recorded.passes.clear()
    found: dict[str, torch.Tensor] = {"ours": ours(image, label)}
    passes, full = list(recorded.passes), [(GRADIENT, len(image))] * (STEPS * RESTARTS)
    runs: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(image, label),
        SAME: lambda: bare_attack(network, image, label, passes),
        FULL: lambda: bare_attack(network, image, label, full),
    }
    attacks, missing = others(network, len(image))
    for name, run in attacks.items():
        run(image[:WARM_UP], label[:WARM_UP])
        runs[name] = partial(kept, name, run)
    seconds = in_turn(runs, rounds)
    with torch.no_grad():
        right = {name: float((network(noisy).argmax(1) == label).float().mean()) for name, noisy in found.items()}
    rows = []
    for name, measured in seconds.items():
        ratio = Ratio(seconds["ours"], measured, EVALUATION.get(name))
        title = TITLES.get(name, name) + (f" {version(PACKAGES[name])}" if name in PACKAGES else "")
        accuracy = f"{right[name]:.3f}" if name in right else ""
        rows.append([title, f"{median(measured):.1f}", "1" if name == "ours" else str(ratio), ratio.verdict, accuracy])
    rows += [[TITLES[name], said, "", f"at most {EVALUATION[name]:g}", ""] for name, said in missing.items()]
    yield "## PGD in an evaluation"
    yield (
        f"`PGD`, {STEPS} steps of {STEP:g} ε from {RESTARTS} random starts, L2, ε = {EPS:g}, on the first {len(image)} "
        "test images as one batch. The loop of the same passes makes those that ours makes, with their batch sizes: "
        f"{counted(passes)}. In the loop in which nobody leaves all images, misclassified ones too, take all steps of "
        f"both restarts: {counted(full)}. The other libraries take the same steps and restarts as one batch, on the "
        "network as it comes from training: foolbox and ART compute the weights' gradients too. torchattacks' restarts "
        "are its `MultiAttack`, whose second run takes only the images that the first left unbroken."
    )
    yield table(["", "CPU seconds", "ours / its time", "wanted", "robust accuracy"], rows)


def others(network: nn.Module, batch: int) -> tuple[dict[str, Run], dict[str, str]]:
    """The other libraries' attacks, and of those that cannot be imported what is missing."""
    attacks, missing = dict[str, Run](), dict[str, str]()
    for name, make in TOOLS.items():
        try:
            attacks[name] = make(network, EPS, STEPS, STEP * EPS, RESTARTS, batch)
        except ImportError as error:
            missing[name] = f"not installed ({error.name})"
    return attacks, missing


PARTS: dict[str, Callable[[nn.Module, Data, int], Iterator[str]]] = {
    "overhead": overhead,
    "defaults": defaults,
    "pgd": evaluation,
}


def load_average() -> str:
    """Of the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def main(rounds: int = 3, only: str | None = None, images: int = 64) -> None:
    """Print the page.

    Args:
        rounds: that count, >= 1.
        only: parts to run, of overhead, defaults and pgd, with commas between them.
        images: test images that the evaluation attacks, >= 1.
    """
    names = chosen("part", ",".join(only) if isinstance(only, tuple) else only, PARTS)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    begin, load_before = time.process_time(), load_average()
    data = load(images)
    network = trained(data)
    pages = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        pages += list(PARTS[name](network, data, rounds))
    words = ["python benchmarks/attack_speed.py", f"--rounds {rounds}", f"--images {images}"]
    words += [f"--only {','.join(names)}"] * (only is not None)
    opening = [
        "# What steps and attacks cost",
        f"    MONAI_IMA_DATA=DIR {' '.join(words)}",
        "`FashionMNISTNet`, the paper's network, after an epoch of plain training and one of "
        f"{TRAINING_STEPS}-step PGD (L2, ε = {EPS:g}) on {len(data.image)} Fashion-MNIST images, batches of {BATCH}, "
        f"seed 0. All in one run, in CPU seconds: what is compared in turn, {rounds} rounds after a warm-up; ratios "
        "within a round, **median (smallest to largest)**.",
        f"{setting(1, 'process')}. Load average {load_before} at the start, {load_average()} at the end; "
        f"{time.process_time() - begin:.0f} CPU seconds in all.",
    ]
    print("\n\n".join([*opening, *pages]))


if __name__ == "__main__":
    fire.Fire(main)
