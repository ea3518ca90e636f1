from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

__all__ = ["attack_mode"]


@contextmanager
def attack_mode(network: nn.Module, mode: str = "eval") -> Iterator[None]:
    """Run a network under attack without leaving a trace in it.

    Inside the context the network is in evaluation mode (``"eval"``: running statistics, no dropout) or in training
    mode (``"train"``: batch statistics, dropout). On leaving, whatever happened, every module has its own mode back;
    in training mode the buffers (running statistics) and the global random state are put back as well.

    Args:
        network: the module to be attacked.
        mode: ``"eval"`` or ``"train"``.

    Raises:
        ValueError: when ``mode`` is neither.
    """
    if mode not in ("eval", "train"):
        raise ValueError(f"Unknown attack mode {mode!r}, expected 'eval' or 'train'.")
    training = [(module, module.training) for module in network.modules()]
    state = _kept_state(network) if mode == "train" else nullcontext()
    with state:
        network.train(mode == "train")
        try:
            yield
        finally:
            for module, flag in training:
                module.training = flag


@contextmanager
def _kept_state(network: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    devices = {p.device.index for p in network.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
