from __future__ import annotations

from typing import Any

import torch.distributed as dist

__all__ = ["gather_all", "rank", "world_size"]


def world_size() -> int:
    """Number of processes that train together, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0 on."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_all(value: Any) -> list[Any]:
    """The values of all processes in the order of their ranks, the same on each of them; picklable objects."""
    values = [value] * world_size()
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values
