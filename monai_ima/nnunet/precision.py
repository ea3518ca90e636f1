"""Attacks in nnU-Net's mixed precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from monai_ima.utils.tensors import at_least_float32

__all__ = ["own_samples_only", "uncached_autocast", "unit_gradient"]


def unit_gradient(logits: torch.Tensor) -> torch.Tensor:
    """``logits`` in float32 or better; the gradient that comes back is scaled to a largest value of 1 in each sample.

    Args:
        logits: ``[B, K, *spatial]``.

    Example:
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> weights = torch.tensor([[0.0, 2e-9, -4e-9], [0.0, 0.0, 0.0]])
        >>> (unit_gradient(logits * 1) * weights).sum().backward()
        >>> logits.grad
        tensor([[ 0.0000,  0.5000, -1.0000],
                [ 0.0000,  0.0000,  0.0000]])
    """
    logits = at_least_float32(logits)
    if logits.requires_grad:
        logits.register_hook(_scaled)
    return logits


def _scaled(gradient: torch.Tensor) -> torch.Tensor:
    largest = gradient.abs().amax(dim=tuple(range(1, gradient.ndim)), keepdim=True)
    return gradient / largest.clamp(min=torch.finfo(gradient.dtype).tiny)


def uncached_autocast(device_type: str) -> AbstractContextManager[Any]:
    """Mixed precision as it is around the context, without its cache of cast weights.

    An attack's first pass runs without gradients. Before torch 2.11 weights cast there would be taken for the noisy
    pass of the training too, which would give them no gradient, where the clean pass is compiled and casts its own.
    """
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, dtype=torch.get_autocast_dtype(device_type), cache_enabled=False)


@contextmanager
def own_samples_only(loss: Any) -> Iterator[None]:
    """Keep nnU-Net's losses from gathering the Dice of a batch over all processes.

    Not every process has noisy samples, and one that has none would leave the others waiting.
    """
    modules: Iterable[Any] = loss.modules() if isinstance(loss, nn.Module) else ()
    gathering = [module for module in modules if getattr(module, "ddp", False)]
    for module in gathering:
        module.ddp = False
    try:
        yield
    finally:
        for module in gathering:
            module.ddp = True
