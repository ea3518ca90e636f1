"""Process groups of training with several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["gather_all", "rank", "reduced", "world_size"]


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


def reduced(network: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """``loss``, and ``DistributedDataParallel`` knows that it decides which parameters get a gradient.

    With ``find_unused_parameters=True`` the wrapper looks for these in the graph of its own forward pass, where a
    second pass may have used others (a network of random depth).

    Args:
        network: the trainer's, wrapped or not.
        loss: a scalar, that ``backward`` will be called on.
    """
    if (
        isinstance(network, DistributedDataParallel)
        and network.find_unused_parameters
        and not network.static_graph
        and network.require_backward_grad_sync
    ):
        network.reducer.prepare_for_backward([loss])
    return loss
