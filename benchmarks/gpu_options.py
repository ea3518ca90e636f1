"""The options of attacks that change their speed, for ``benchmarks/gpu.py``: B-PGD with each beside B-PGD without."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from gpu_steps import Problem, boundary_problem, now
from monai_ima.attacks import BoundaryPGD

__all__ = ["OPTIONS", "Compared", "compare"]

OPTIONS: dict[str, dict[str, Any]] = {
    'memory_format="channels_last"': {"memory_format": "channels_last"},
    'autocast="bfloat16"': {"autocast": "bfloat16"},
    'autocast="bfloat16", memory_format="channels_last"': {"autocast": "bfloat16", "memory_format": "channels_last"},
    "compile=True": {"compile": True},
}


@dataclass(frozen=True)
class Compared:
    """B-PGD with an option beside B-PGD without.

    Attributes:
        without: median seconds without.
        beside: median seconds with it.
        first: seconds of the first call with it.
        same: share of the samples that both cross for, or neither does.
        apart: largest difference of two crossings' distances, relative.
    """

    without: float
    beside: float
    first: float
    same: float
    apart: float


def compare(problem: Problem, option: str, rounds: int) -> Compared:
    """Attack a problem's batch in balls of half to twice the median margin, with and without an option in turn.

    Args:
        problem: what is attacked, in evaluation mode.
        option: of :data:`OPTIONS`.
        rounds: calls that count, >= 1.
    """
    network = problem.network.eval()
    label, margins = boundary_problem(problem, network)
    eps = torch.tensor(margins, device=problem.image.device)
    ways = [
        BoundaryPGD("l2", problem.steps, criterion=problem.criterion, **settings) for settings in ({}, OPTIONS[option])
    ]
    firsts, results = [], []
    times: tuple[list[float], list[float]] = ([], [])
    for way in ways:
        begin = now(eps.device)
        results.append(way(network, problem.image, label, eps))
        firsts.append(now(eps.device) - begin)
    for _ in range(rounds):
        for way, spent in zip(ways, times, strict=True):
            begin = now(eps.device)
            way(network, problem.image, label, eps)
            spent.append(now(eps.device) - begin)
    plain, found = results
    both = plain.success & found.success
    apart = ((found.distance - plain.distance).abs() / plain.distance)[both]
    return Compared(
        statistics.median(times[0]),
        statistics.median(times[1]),
        firsts[1],
        float((plain.success == found.success).float().mean()),
        float(apart.max()) if len(apart) else 0.0,
    )
