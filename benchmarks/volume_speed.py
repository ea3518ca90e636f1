"""Seconds per volume and input gradient through sliding windows, beside MONAI's own inferer and its whole graph.

Both inferers take the same batches of windows, by turns in one process; a ratio is of two runs that follow each other.

    python benchmarks/volume_speed.py
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import fire
import monai
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from torch import nn

from monai_ima.inferers import GradientSlidingWindowInferer
from monai_ima.results.provenance import machine

CLASSES = 2
WINDOW, OVERLAP = 96, 0.25
CHANNELS = (8, 16, 32)

CPU_KERNELS = """

What a batch of windows gains here comes from torch: on a CPU `torch.profiler` shows `slow_conv3d` for a single window
of few channels, and oneDNN's convolution for four. With other networks, or on a GPU, the gain is another."""
"""Why a batch of windows is faster on a CPU."""


@dataclass
class Case:
    """Volumes of one size that are attacked together.

    Attributes:
        size: edge of a volume, in voxels.
        volumes: in a batch.
        windows: in a batch at most (``sw_batch_size``).
        ours: seconds for each volume and gradient, one for each run.
        plain: the same through MONAI's inferer.
        difference: the largest between the two gradients, relative to the largest value of one.
    """

    size: int
    volumes: int
    windows: int
    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    difference: float = 0.0

    @property
    def per_volume(self) -> int:
        """How many windows MONAI lays over a volume."""
        step = int(WINDOW * (1 - OVERLAP))
        return (-(-max(self.size - WINDOW, 0) // step) + 1) ** 3

    @property
    def ratios(self) -> list[float]:
        """Ours over MONAI's, of each pair of runs."""
        return [ours / plain for ours, plain in zip(self.ours, self.plain, strict=True)]


def gradient(inferer: Any, network: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The input gradient of the squared prediction, ``[B, 1, *spatial]``, and its seconds for each volume."""
    image = image.clone().requires_grad_()
    begin = _seconds(image.device)
    (found,) = torch.autograd.grad(inferer(image, network).square().sum(), image)
    return found, (_seconds(image.device) - begin) / len(image)


def _seconds(device: torch.device) -> float:
    """On a CPU those that the process had it, so that other work on the machine counts little; else of the clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(case: Case, network: nn.Module, device: torch.device, runs: int) -> None:
    """Both inferers by turns, as often as asked for, after one run of each that does not count."""
    settings: Any = {"roi_size": WINDOW, "sw_batch_size": case.windows, "overlap": OVERLAP, "mode": "gaussian"}
    ours, plain = GradientSlidingWindowInferer(**settings), SlidingWindowInferer(**settings)
    image = torch.rand(case.volumes, 1, *[case.size] * 3, generator=torch.Generator().manual_seed(0)).to(device)
    first, expected = (gradient(inferer, network, image)[0] for inferer in (ours, plain))
    case.difference = float((first - expected).abs().max() / expected.abs().max())
    del first, expected
    for _ in range(runs):
        case.ours.append(gradient(ours, network, image)[1])
        case.plain.append(gradient(plain, network, image)[1])


def main(
    out: str = str(Path(__file__).resolve().parent.parent / "docs" / "results" / "volume_speed.md"),
    sizes: tuple[int, int] = (96, 192),
    runs: int = 5,
) -> None:
    """Measure both sizes, single windows and batches of four, and write the table.

    Args:
        out: file to write, over an older one.
        sizes: edges of the cubes: one that is a single window, and a larger one.
        runs: of each inferer, for each row.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = UNet(3, 1, CLASSES, CHANNELS, (2, 2), num_res_units=1, norm="instance").eval().to(device)
    small, large = sizes
    cases = [Case(small, 1, 1), Case(small, 4, 1), Case(small, 4, 4), Case(large, 1, 1), Case(large, 1, 4)]
    for case in cases:
        measure(case, network, device, runs)
        print(case, flush=True)
    Path(out).write_text(report(cases, device, runs, os.getloadavg()[1]))
    print(f"written to {out}")


def report(cases: list[Case], device: torch.device, runs: int, load: float) -> str:
    """The results page."""
    where, clock, why = machine(device), "Seconds are", ""
    if device.type == "cpu":
        where, clock, why = f"{where}, 1 thread", "Seconds are the process's own on the CPU, and", CPU_KERNELS
    rows = [
        f"| {case.size}³ | {case.per_volume} | {case.volumes} | {case.windows} | {median(case.ours):.2f} "
        f"| {median(case.plain):.2f} | {median(case.ratios):.2f} ({min(case.ratios):.2f} to {max(case.ratios):.2f}) "
        f"| {case.difference:.0e} |"
        for case in cases
    ]
    return f"""# Seconds of a volume's gradient

    python benchmarks/volume_speed.py

One input gradient of the squared prediction of a small UNet ({CLASSES} classes, channels {CHANNELS}, float32, random
weights) on cubes of noise, through windows of {WINDOW}³ with overlap {OVERLAP} and Gaussian blending, seed 0.
{where}, load average {load:.1f} at the end.
Python {platform.python_version()}, torch {torch.__version__.split("+")[0]}, monai {monai.__version__}.
Ours is `GradientSlidingWindowInferer`, plain is MONAI's `SlidingWindowInferer` with its whole graph; both by turns in
one process, {runs} runs of each after one that does not count. {clock} medians, for
**one volume and one gradient**; the ratio is ours over plain, of runs that follow each other: median (lowest to
highest). The difference is the largest between the two gradients, relative to the largest value of one.

| volume | windows | volumes in the batch | `sw_batch_size` | seconds, ours | seconds, plain | ratio | difference |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Ours computes every window's activations twice, and keeps those of one batch of windows: what that saves in memory is in
[volume_memory.md](volume_memory.md).{why}
"""


if __name__ == "__main__":
    fire.Fire(main)
