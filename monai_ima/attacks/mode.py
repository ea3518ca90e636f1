from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_ima.utils.checks import check_choice
from monai_ima.utils.distributed import world_size

__all__ = ["allow_single_value_batchnorm", "attack_mode", "kept_buffers"]


@contextmanager
def attack_mode(network: nn.Module, mode: str = "eval") -> Iterator[None]:
    """Run a network under attack without leaving a trace in it.

    Inside the context the network is in evaluation mode (``"eval"``: running statistics, no dropout) or in training
    mode (``"train"``: batch statistics, dropout). On leaving, whatever happened, every module's mode is restored;
    in training mode the buffers (running statistics) and the global random state are put back as well.

    Args:
        network: the module to be attacked.
        mode: ``"eval"`` or ``"train"``.

    Raises:
        ValueError: when ``mode`` is neither, or a layer normalises by the batch in evaluation mode; it is named.
    """
    check_choice("attack mode", mode, ("eval", "train"))
    training = [(module, module.training) for module in network.modules()]
    with ExitStack() as stack:
        if mode == "train":
            stack.enter_context(_kept_random_state(network))
            stack.enter_context(kept_buffers(network))
            stack.enter_context(allow_single_value_batchnorm(network))
        try:
            network.train(mode == "train")
            if mode == "eval":
                _refuse_batch_statistics(network)
            yield
        finally:
            for module, flag in training:
                module.training = flag


def _refuse_batch_statistics(network: nn.Module) -> None:
    """Attacks need a prediction of every sample that does not depend on the others in its batch."""
    for name, layer in network.named_modules():
        if not isinstance(layer, _BatchNorm) or (layer.running_mean is not None and not layer.training):
            continue
        why = "stays in training mode when the network is put into evaluation mode"
        raise ValueError(
            f"Layer {name!r} ({type(layer).__name__}) "
            f"{'has track_running_stats=False' if layer.running_mean is None else why}: a sample's prediction depends "
            "on the others in its batch, expected running statistics, or instance or group normalisation."
        )


@contextmanager
def allow_single_value_batchnorm(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation in training mode take one value a channel, which has no variance.

    Noisy samples are a part of a batch, sometimes a single one; where its feature maps are 1 x 1, such a layer uses its
    running statistics for that pass and does not change them. All other passes are as ever.

    Args:
        network: whose passes inside the context are meant.
    """
    together = world_size() > 1
    layers = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and not (together and isinstance(module, nn.SyncBatchNorm))
    ]
    alone: set[nn.Module] = set()

    def before(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if layer.training and layer.running_mean is not None and inputs[0].numel() == inputs[0].shape[1]:
            alone.add(layer)
            layer.eval()

    def after(layer: nn.Module, *_: object) -> None:
        if layer in alone:
            alone.remove(layer)
            layer.train()

    hooks = [
        hook
        for layer in layers
        for hook in (layer.register_forward_pre_hook(before), layer.register_forward_hook(after, always_call=True))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def kept_buffers(network: nn.Module) -> Iterator[None]:
    """Let a network change its buffers, such as running statistics, and put them back afterwards."""
    # Copies are used up in their place: the graph of the clean pass still needs the tensors as they are.
    buffers = [(module, *named) for module in network.modules() for named in module.named_buffers("", False, False)]
    copies = {buffer: buffer.detach().clone() for _, _, buffer in buffers}
    try:
        for module, name, buffer in buffers:
            setattr(module, name, copies[buffer])
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)


def _kept_random_state(network: nn.Module) -> AbstractContextManager[None]:
    devices = {p.device.index for p in network.parameters() if p.device.type == "cuda"}
    return torch.random.fork_rng(devices=sorted(d for d in devices if d is not None))
