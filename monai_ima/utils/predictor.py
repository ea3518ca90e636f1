from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .checks import check_callable
from .tensors import select_rows

__all__ = ["Predictor", "unwrap"]


@dataclass(frozen=True)
class Predictor:
    """From images to predictions as the trainer does it, its inferer and extra network inputs included.

    Extra inputs that are tensors with one row per sample follow the samples when an attack narrows its batch.
    """

    inferer: Callable[..., Any]
    network: Callable[..., Any]
    batch_size: int
    args: tuple = ()
    kwargs: dict[str, Any] | None = None

    @classmethod
    def prepared(
        cls, inferer: Callable[..., Any], network: nn.Module, batch_size: int, extra: Sequence[Any]
    ) -> Predictor:
        """With what MONAI's ``prepare_batch`` gives after image and label: nothing, or args and kwargs."""
        args, kwargs = extra if extra else ((), {})
        return cls(inferer, network, batch_size, tuple(args), dict(kwargs))

    @classmethod
    def of(cls, network: Callable[[torch.Tensor], Any], batch_size: int) -> Predictor:
        """A network that is called with the images alone."""
        check_callable("network", network, "a callable from images to logits")
        unwrapped = unwrap(network) if isinstance(network, nn.Module) else network
        return cls(lambda image, call: call(image), unwrapped, batch_size)

    def __call__(self, image: torch.Tensor) -> Any:
        """The prediction; the network gets a copy of the images, which it may change in place."""
        return self.inferer(image.clone(), self.network, *self.args, **(self.kwargs or {}))

    def select(self, index: torch.Tensor) -> Predictor:
        """For the samples at ``index`` only."""
        if not self.args and not self.kwargs:
            return self

        args, kwargs = (select_rows(value, index, self.batch_size) for value in (self.args, self.kwargs or {}))
        return Predictor(self.inferer, self.network, len(index), args, kwargs)


def unwrap(network: nn.Module) -> nn.Module:
    """The module inside ``DistributedDataParallel``, ``DataParallel`` and ``torch.compile``."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            inner = network.module
        if inner is None:
            return network
        network = inner
