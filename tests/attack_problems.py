"""Networks and images to attack, for the tests."""

from __future__ import annotations

import math

import torch
from torch import nn


def length(v: torch.Tensor, norm: str) -> torch.Tensor:
    flat = v.flatten(1)
    return flat.pow(2).sum(1).sqrt() if norm == "l2" else flat.abs().max(1).values


def smooth_network(shape: tuple[int, ...], classes: int = 3, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 24), nn.Tanh(), nn.Linear(24, classes)).double()


def labelled_batch(network: nn.Module, shape: tuple[int, ...], batch: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0.2, 0.8] with the network's own predictions as labels."""
    torch.manual_seed(2)
    image = 0.2 + 0.6 * torch.rand(batch, *shape, dtype=torch.float64)
    return image, network(image).argmax(1)
