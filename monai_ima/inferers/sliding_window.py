from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import PytorchPadMode, convert_to_tensor, fall_back_tuple
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from .wrappers import OutputInferer, PadInferer, check_inferer

__all__ = ["GradientSlidingWindowInferer", "gradient_inferer"]


class GradientSlidingWindowInferer(SlidingWindowInferer):
    """MONAI's sliding window with exact gradients and the activations of one batch of windows in memory.

    Constructed and called like ``SlidingWindowInferer``, whose windows, blending and padding (of a volume smaller than
    the window, cut off again) these are. A window's activations
    are dropped after its forward pass and computed again in the backward pass; gradients with respect to the image and
    the parameters are those of the plain graph. Until then the network must stay as it was: mode, parameters, image.

    Networks under attack are in evaluation mode. In training mode dropout draws the same numbers again, but layers with
    running statistics would count every window twice and are refused; other layers that change themselves in a
    forward pass are not noticed.

    Raises:
        ValueError: when gradients are enabled and a layer with running statistics is in training mode.

    Example:
        >>> volume = torch.rand(1, 1, 12, 12, 12, requires_grad=True)
        >>> inferer = GradientSlidingWindowInferer(roi_size=8, overlap=0.5)
        >>> inferer(volume, torch.nn.Conv3d(1, 2, 3, padding=1)).sum().backward()
        >>> volume.grad.shape
        torch.Size([1, 1, 12, 12, 12])
    """

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The blended prediction, as ``SlidingWindowInferer`` gives it.

        Args:
            inputs: ``[B, C, *spatial]``.
            network: any callable from windows to predictions.
            args: handed to ``network``.
            kwargs: handed to ``network``.
        """
        if not torch.is_grad_enabled():
            return super().__call__(inputs, network, *args, **kwargs)
        _check_statistics(network)
        windows = copy(self)
        windows.with_coord = True
        predictor = partial(self._predict, network, self._padded(convert_to_tensor(inputs, track_meta=False)))
        return super(GradientSlidingWindowInferer, windows).__call__(inputs, predictor, *args, **kwargs)

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        """The image as MONAI cuts windows from it: at least as large as they are."""
        size = image.shape[2:]
        missing = [max(w - n, 0) for w, n in zip(fall_back_tuple(self.roi_size, size), size, strict=True)]
        widths = [width for gap in reversed(missing) for width in (gap // 2, gap - gap // 2)]
        return F.pad(image, widths, PytorchPadMode(self.padding_mode).value, self.cval) if any(widths) else image

    def _predict(
        self,
        network: Callable[..., Any],
        image: torch.Tensor,
        window: torch.Tensor,
        coords: list[list[slice]],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # What the backward pass needs is the volume, never the windows: at sw_batch_size > 1 they are copies, and
        # overlapping ones sum to many volumes.
        places = [list(place) for place in coords]  # MONAI writes into its own when it buffers

        def forward(image: torch.Tensor, like: torch.Tensor, *args: Any) -> Any:
            parts = [image[tuple(place)] for place in places]
            data = (torch.cat(parts) if self.sw_batch_size > 1 else parts[0]).to(like.device)
            return network(data, places, *args, **kwargs) if self.with_coord else network(data, *args, **kwargs)

        # The empty tensor tells checkpoint which device's random state counts.
        return _recomputed(forward, image, window.new_empty(0), *args)


def gradient_inferer(inferer: Callable[..., Any]) -> Callable[..., Any]:
    """The same inferer; one that slides a window is converted for gradients through large volumes.

    Args:
        inferer: a ``SlidingWindowInferer`` becomes a :class:`GradientSlidingWindowInferer` of the same settings. An
            instance of a subclass (``SliceInferer``, ``SlidingWindowInfererAdapt``, a user's) is called as it is, with
            a network whose activations are not kept; windows are, when ``sw_batch_size`` > 1. A :class:`PadInferer` or
            :class:`OutputInferer` gets its inner inferer converted. Any other is returned unchanged.

    Raises:
        TypeError: if ``inferer`` is none.
    """
    check_inferer(inferer)
    if isinstance(inferer, OutputInferer):
        return OutputInferer(gradient_inferer(inferer.inferer), inferer.output)
    if isinstance(inferer, PadInferer):
        return PadInferer(gradient_inferer(inferer.inferer), inferer.k, inferer.min_size)
    if not isinstance(inferer, SlidingWindowInferer) or isinstance(inferer, GradientSlidingWindowInferer):
        return inferer
    if type(inferer) is not SlidingWindowInferer:
        return _CheckpointInferer(inferer)
    gradient = GradientSlidingWindowInferer.__new__(GradientSlidingWindowInferer)
    gradient.__dict__.update(inferer.__dict__)
    return gradient


class _CheckpointInferer(Inferer):
    """Calls an inferer with a network whose activations are computed again in the backward pass."""

    def __init__(self, inferer: Inferer) -> None:
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            _check_statistics(network)
            network = _CheckpointNetwork(network)
        return self.inferer(inputs, network, *args, **kwargs)


class _CheckpointNetwork(nn.Module):
    """A module, as inferers may ask for one, with the attributes and the mode of the network inside."""

    def __init__(self, network: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.training = getattr(network, "training", False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _recomputed(partial(self.network, **kwargs), *args)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)


def _recomputed(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives, its activations computed again in the backward pass, to the end.

    Stopping as soon as all are there, as ``checkpoint`` does by default, is an exception, which TorchScript takes for
    an error.
    """
    with set_checkpoint_early_stop(False):
        return checkpoint(function, *args, use_reentrant=False)


def _check_statistics(network: Callable[..., Any]) -> None:
    for name, module in network.named_modules() if isinstance(network, nn.Module) else ():
        if isinstance(module, _NormBase) and module.training and module.track_running_stats:
            raise ValueError(
                f"Layer {name!r} ({type(module).__name__}) of the network is in training mode, expected evaluation "
                "mode: its running statistics would count every window twice."
            )
