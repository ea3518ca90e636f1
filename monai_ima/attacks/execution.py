"""How the network under attack is run: compiled, in another memory format, in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from monai_ima.utils.checks import check_bool, check_choice
from monai_ima.utils.outputs import OneOutput
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import at_least_float32, map_tensors, select_rows

__all__ = ["Execution"]

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
GRAPHS = 64
"""How many graphs of one network are kept: one for every power of two up to the batch size, with and without gradient,
in evaluation and in training mode."""

_compiled: WeakKeyDictionary[nn.Module, Callable[..., Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Execution:
    """Options of an attack that change its speed and the rounding of its numbers, nothing else.

    Attributes:
        compile: run the network through ``torch.compile``. Samples leave an attack one by one, so batches are filled up
            to the next power of two with copies, and a graph is made for each of these sizes only.
        memory_format: ``"channels_last"``: images are handed over in this format; None: as they are.
        autocast: ``"bfloat16"`` or ``"float16"``: the network runs under ``torch.autocast`` of this type, and its
            outputs are made float32; None: as it runs outside.

    Raises:
        ValueError: if a name is another one.
        TypeError: if ``compile`` is no truth value.

    Example:
        >>> Execution(autocast="bfloat16").applied(Predictor.of(nn.Linear(2, 2), 1))(torch.zeros(1, 2)).dtype
        torch.float32
    """

    compile: bool = False
    memory_format: str | None = None
    autocast: str | None = None

    def __post_init__(self) -> None:
        check_bool("compile", self.compile)
        if self.memory_format is not None:
            check_choice("memory_format", self.memory_format, ("channels_last",))
        if self.autocast is not None:
            check_choice("autocast", self.autocast, ("bfloat16", "float16"))

    def applied(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        """From images to predictions as before, with the network inside run so.

        Raises:
            ValueError: if it is not known where the network is, or it is to be compiled and is no module, or a
                TorchScript one.
        """
        if self == Execution():
            return predict
        if isinstance(predict, OneOutput):
            return replace(predict, network=self.applied(predict.network))
        if not isinstance(predict, Predictor):
            raise ValueError(
                f"Got {type(predict).__name__} to attack, expected a network or a Predictor for compile, memory_format "
                "and autocast."
            )
        network = predict.network
        if self.compile and (not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule)):
            raise ValueError(f"Got {type(network).__name__} with compile=True, expected a torch.nn.Module.")
        return replace(predict, network=_Run(self, network))


@dataclass(frozen=True)
class _Run:
    execution: Execution
    network: Callable[..., Any]

    def __call__(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.execution.memory_format is not None and image.ndim in CHANNELS_LAST:
            image = image.contiguous(memory_format=CHANNELS_LAST[image.ndim])
        with self._autocast(image.device):
            if self.execution.compile and isinstance(self.network, nn.Module):
                output = _compiled_call(self.network, image, args, kwargs)
            else:
                output = self.network(image, *args, **kwargs)
        return map_tensors(at_least_float32, output)

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        name = self.execution.autocast
        return nullcontext() if name is None else torch.autocast(device.type, dtype=getattr(torch, name))


def _compiled_call(network: nn.Module, image: torch.Tensor, args: tuple, kwargs: dict[str, Any]) -> Any:
    """What the compiled network makes of a batch, which is filled up to the next power of two for it."""
    batch = len(image)
    size = 1 << (batch - 1).bit_length()
    filled = torch.arange(size, device=image.device).remainder(batch)
    image, args, kwargs = select_rows((image, args, kwargs), filled, batch)
    with _frozen(network), torch._dynamo.config.patch(recompile_limit=GRAPHS):
        output = _of_compiled(network)(image, *args, **kwargs)
    return select_rows(output, filled[:batch], size)


def _of_compiled(network: nn.Module) -> Callable[..., Any]:
    if network not in _compiled:
        _compiled[network] = torch.compile(network, dynamic=False)
    return _compiled[network]


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No gradient of the parameters: a compiled graph would compute them all at every step of an attack."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
