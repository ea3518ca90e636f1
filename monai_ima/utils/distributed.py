"""Process groups of training with several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

__all__ = ["gather_all", "one_rank_first", "rank", "world_size"]


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


@contextmanager
def one_rank_first() -> Iterator[None]:
    """Process 0 runs the block of code while the others wait; then these run it."""
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0 and world_size() > 1:
        dist.barrier()
