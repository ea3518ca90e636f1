"""Two ratios of run times, each measured side by side in one run.

1. ``BoundaryPGD`` / the same attack in which no sample leaves before the end, on a half-trained Fashion-MNIST CNN, with
   an ε at which about three quarters of the samples cross.
2. ``PGD`` without restarts of which no sample breaks / a bare loop of as many forward and input-gradient passes.

    MONAI_IMA_DATA=... python benchmarks/attack_speed.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import fire
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from monai_ima.attacks import PGD, AttackResult, BoundaryPGD
from monai_ima.results.provenance import machine


def cnn() -> nn.Module:
    """The IMA paper's Fashion-MNIST network in shape: two 5x5 convolutions with pooling, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 49, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def load(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training and test images in [0, 1] with labels."""
    folder = os.environ.get("MONAI_IMA_DATA")
    if not folder:
        raise SystemExit("MONAI_IMA_DATA is not set, expected the folder that holds fashion_mnist.npz.")
    with np.load(Path(folder) / "fashion_mnist.npz") as data:
        train, test = data["x_train"][:count], data["x_test"][:256]
        labels = torch.tensor(data["y_train"][:count]).long(), torch.tensor(data["y_test"][:256]).long()
    return torch.tensor(train)[:, None] / 255.0, labels[0], torch.tensor(test)[:, None] / 255.0, labels[1]


def half_trained(image: torch.Tensor, label: torch.Tensor) -> nn.Module:
    """One epoch of plain training."""
    torch.manual_seed(0)
    network = cnn()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for rows in torch.randperm(len(image)).split(64):
        optimizer.zero_grad()
        F.cross_entropy(network(image[rows]), label[rows]).backward()
        optimizer.step()
    return network.eval()


def without_leaving(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float, steps: int, halvings: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Algorithm 3 in L2 for a whole batch to the end: same path, same crossings, same bisection, nobody leaves."""
    previous, current = x, x
    inside, outside = x.clone(), x.clone()
    crossed = torch.zeros(len(x), dtype=torch.bool)
    for k in range(steps + 1):
        leaf = current.detach().requires_grad_(k < steps)
        with torch.set_grad_enabled(k < steps):
            logits = network(leaf)
        first = (logits.argmax(1) != y) & ~crossed
        inside[first], outside[first] = previous[first], current[first]
        crossed |= first
        if k == steps:
            break
        (g,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), leaf)
        v = current + 4 * eps / steps * g / g.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None, None] - x
        previous, current = current, x + v * (eps / v.flatten(1).norm(dim=1).clamp_min(eps))[:, None, None, None]
    with torch.no_grad():
        for _ in range(halvings):
            middle = (inside + outside) / 2
            right = (network(middle).argmax(1) == y)[:, None, None, None]
            inside, outside = torch.where(right, middle, inside), torch.where(right, outside, middle)
    return torch.where(crossed[:, None, None, None], inside, current), crossed


def bare_loop(network: nn.Module, x: torch.Tensor, y: torch.Tensor, passes: int) -> None:
    """Forward and input-gradient passes, nothing else."""
    for _ in range(passes):
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(network(leaf), y, reduction="sum"), leaf)


def ratio(ours: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Smallest, median and largest of the ratios of paired runs, after one warm-up of each."""
    ours(), other()
    ratios = []
    for k in range(rounds):
        seconds = {}
        for name in ("ours", "other") if k % 2 == 0 else ("other", "ours"):
            begin = time.perf_counter()
            (ours if name == "ours" else other)()
            seconds[name] = time.perf_counter() - begin
        ratios.append(seconds["ours"] / seconds["other"])
    return min(ratios), statistics.median(ratios), max(ratios)


def main(rounds: int = 9, steps: int = 20, halvings: int = 10) -> None:
    """Print both ratios (smallest, median, largest of ``rounds`` paired runs)."""
    image, label, test, test_label = load(6000)
    network = half_trained(image, label)
    with torch.no_grad():
        right = network(test).argmax(1) == test_label
    x, y = test[right][:192], test_label[right][:192]

    def boundary(eps: float) -> AttackResult:
        return BoundaryPGD("l2", steps, halvings)(network, x, y, eps)

    eps = next(e for e in np.arange(0.1, 5, 0.05).tolist() if boundary(e).success.float().mean() >= 0.75)
    ours, (theirs, crossed) = boundary(eps), without_leaving(network, x, y, eps, steps, halvings)
    same = (ours.success == crossed) & ((ours.image - theirs).flatten(1).norm(dim=1) < 1e-3)
    low, middle, high = ratio(
        lambda: boundary(eps), lambda: without_leaving(network, x, y, eps, steps, halvings), rounds
    )
    print(f"machine: {machine()}, {torch.get_num_threads()} threads; {len(x)} Fashion-MNIST test images, seed 0")
    print(
        f"BoundaryPGD / without leaving: {middle:.3f} ({low:.3f} to {high:.3f}); ε {eps:.2f}, "
        f"{float(ours.success.float().mean()):.0%} cross, same result for {float(same.float().mean()):.1%}"
    )
    attack = PGD("l2", 100, 1, random_start=False)
    broken = int(attack(network, x, y, 1e-3).success.sum())
    low, middle, high = ratio(lambda: attack(network, x, y, 1e-3), lambda: bare_loop(network, x, y, 100), rounds)
    print(f"PGD / bare loop of 100 passes: {middle:.3f} ({low:.3f} to {high:.3f}); {broken} of {len(x)} broken")


if __name__ == "__main__":
    fire.Fire(main)
