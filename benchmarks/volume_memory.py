"""Peak memory of one input gradient through sliding windows, beside the plain graph of MONAI's own inferer.

Every case runs in a process of its own. On a CPU the peak is the resident set's (Linux); where there is a GPU, that of
CUDA's allocator.

    python benchmarks/volume_memory.py
"""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import fire
import monai
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet

from monai_ima.inferers import GradientSlidingWindowInferer
from monai_ima.results.provenance import machine

MIB = 2**20
CLASSES = 2
WINDOW, OVERLAP, BATCH = 32, 0.5, 4


@dataclass(frozen=True)
class Case:
    """One measurement: peak in MiB above what was there before the image, seconds for forward and backward pass."""

    peak: float
    seconds: float


def own_tensors(size: int) -> float:
    """MiB of the volume's own tensors: image, prediction, the gradient of each, and the count map of the blending."""
    return (1 + CLASSES + 1 + CLASSES + 1) * 4 * size**3 / MIB


def windows(size: int) -> int:
    """How many windows MONAI lays over a cube."""
    step = int(WINDOW * (1 - OVERLAP))
    return (-(-(size - WINDOW) // step) + 1) ** 3


def peak_memory(device: torch.device) -> float:
    """Largest memory of this process so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):  # not ru_maxrss, which a process inherits from the one that started it
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no line VmHWM, expected Linux.")


def measure(inferer_class: type[SlidingWindowInferer], size: int, device: torch.device) -> Case:
    """One input gradient of a small UNet on a cube of noise."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet(3, 1, CLASSES, (8, 16, 32), (2, 2), num_res_units=1, norm="instance").eval().to(device)
    inferer = inferer_class(WINDOW, BATCH, OVERLAP, mode="gaussian")
    before = peak_memory(device)
    begin = time.perf_counter()
    image = torch.rand(1, 1, size, size, size, device=device, requires_grad=True)
    logits: Any = inferer(image, network)
    torch.autograd.grad(logits.square().sum(), image)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Case(peak_memory(device) - before, time.perf_counter() - begin)


def main(
    out: str = str(Path(__file__).resolve().parent.parent / "docs" / "results" / "volume_memory.md"),
    sizes: tuple[int, ...] = (64, 96, 128),
) -> None:
    """Measure all sizes with both inferers and write the table.

    Args:
        out: file to write, over an older one.
        sizes: edges of the cubes, rising.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # freed tensors go back to the system
    found: dict[int, list[Case]] = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for size in sizes:
            both = (GradientSlidingWindowInferer, SlidingWindowInferer)
            found[size] = [pool.submit(measure, kind, size, device).result() for kind in both]
            print(f"{size}³: {found[size]}", flush=True)
    Path(out).write_text(report(found, device))
    print(f"written to {out}")


def report(found: dict[int, list[Case]], device: torch.device) -> str:
    """The results page."""
    where = f"{machine(device)}, 1 thread" if device.type == "cpu" else machine(device)
    what = "resident set" if device.type == "cpu" else "CUDA's allocated memory"
    rows = [
        f"| {size}³ | {windows(size)} | {own_tensors(size):.0f} | {ours.peak:.0f} | {plain.peak:.0f} "
        f"| {ours.seconds:.1f} | {plain.seconds:.1f} |"
        for size, (ours, plain) in found.items()
    ]
    *smaller, large = found
    growth = []
    for size in smaller:
        own = own_tensors(large) - own_tensors(size)
        ours, plain = (big.peak - little.peak for big, little in zip(found[large], found[size], strict=True))
        growth.append(
            f"| {size}³ to {large}³ | {own:.0f} | {ours:.0f} ({ours / own:.2f}) | {plain:.0f} ({plain / own:.2f}) |"
        )
    return f"""# Memory of a volume's gradient

    python benchmarks/volume_memory.py

One input gradient of the squared prediction of a small UNet ({CLASSES} classes, float32, random weights) on a cube of
noise, through windows of {WINDOW}³ with overlap {OVERLAP} and Gaussian blending, {BATCH} windows a batch, seed 0.
{where}, Python {platform.python_version()}, torch {torch.__version__.split("+")[0]}, monai {monai.__version__}.
Peak of the {what} above what it was before the image was made; each case in its own process, one run.
The volume's own tensors are the image, the prediction, the gradient of each, and the count map of the blending. Ours is
`GradientSlidingWindowInferer`, plain is MONAI's `SlidingWindowInferer` with its whole graph.

| volume | windows | own tensors, MiB | peak, ours, MiB | peak, plain, MiB | seconds, ours | seconds, plain |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Growth in MiB, and as a multiple of the own tensors' growth:

| | own tensors | peak, ours | peak, plain |
|---|---|---|---|
{chr(10).join(growth)}

What grows beside the own tensors: MONAI's blending adds window after window to one tensor, whose backward pass copies
the prediction's gradient; slicing windows from the image makes further tensors of its size; and each window leaves the
nodes of its graph, without activations.
"""


if __name__ == "__main__":
    fire.Fire(main)
