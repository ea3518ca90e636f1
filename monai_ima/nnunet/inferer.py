from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import combinations
from typing import Any

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from monai.inferers import Inferer
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch.utils.checkpoint import checkpoint

from monai_ima.utils.predictor import unwrap

from .precision import unit_gradient

__all__ = ["NNUNetInferer"]


class NNUNetInferer(Inferer):
    """nnU-Net's sliding window with gradients, and the activations of one window in memory.

    Windows, Gaussian weights, mirroring, mixed precision and the rounding to half precision are the predictor's: so are
    the logits, bit for bit. The gradient is that of the blended prediction without the rounding; a window's activations
    are computed again in the backward pass. On a GPU, where nnU-Net runs in half precision, each volume's gradient has
    its largest value at 1 on its way in (:func:`~monai_ima.nnunet.precision.unit_gradient`).

    Args:
        predictor: nnU-Net's ``nnUNetPredictor``, initialised; its network is not used.

    Example:
        >>> from types import SimpleNamespace
        >>> plans = SimpleNamespace(patch_size=[4, 4, 4])
        >>> corners = [(slice(None), slice(0, 4), slice(0, 4), slice(z, z + 4)) for z in (0, 2)]
        >>> predictor = SimpleNamespace(configuration_manager=plans, use_mirroring=False, use_gaussian=True)
        >>> predictor._internal_get_sliding_window_slicers = lambda size: corners
        >>> NNUNetInferer(predictor)(torch.ones(1, 1, 4, 4, 6), lambda x: torch.cat([x, -x], dim=1))[0, :, 0, 0, 0]
        tensor([ 1., -1.])
    """

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.predictor = predictor

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """The logits of preprocessed volumes: float32 ``[B, K, *spatial]``, values of half precision.

        Args:
            inputs: ``[B, C, *spatial]``, always 3-D; a 2-D configuration goes through it slice by slice.
            network: from windows to logits.
            args: handed to ``network``.
            kwargs: handed to ``network``.
        """
        own = unwrap(network) if isinstance(network, torch.nn.Module) else network
        volumes = [self._volume(volume, lambda x: own(x, *args, **kwargs)) for volume in inputs]
        return torch.stack(volumes)

    def _volume(self, volume: torch.Tensor, network: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        size = self.predictor.configuration_manager.patch_size
        data, inside = pad_nd_image(volume, size, "constant", {"value": 0}, True, None)
        gaussian, total = self._gaussian(size, data.device), torch.zeros((), device=data.device)
        weights = torch.zeros(data.shape[1:], dtype=torch.half, device=data.device)
        with _autocast(data.device):
            for place in self.predictor._internal_get_sliding_window_slicers(data.shape[1:]):
                logits = self._window(network, data, place)
                if total.ndim == 0:
                    total = torch.zeros((len(logits), *data.shape[1:]), device=data.device)
                total[place] = _Half.apply(total[place] + logits * gaussian)
                weights[place[1:]] += gaussian
        found = _Half.apply(total / weights.float())
        if not torch.isfinite(found).all():
            raise ValueError("Logits are beyond the range of half precision, in which nnU-Net blends windows.")
        found = found[(slice(None), *inside[1:])]
        return unit_gradient(found) if data.device.type == "cuda" else found

    def _window(
        self, network: Callable[[torch.Tensor], torch.Tensor], data: torch.Tensor, place: tuple[Any, ...]
    ) -> torch.Tensor:
        def forward(data: torch.Tensor) -> torch.Tensor:
            return self._mirrored(network, data[place][None].contiguous())[0]

        return checkpoint(forward, data, use_reentrant=False) if torch.is_grad_enabled() else forward(data)

    def _mirrored(self, network: Callable[[torch.Tensor], torch.Tensor], window: torch.Tensor) -> torch.Tensor:
        logits = network(window)
        axes = self.predictor.allowed_mirroring_axes if self.predictor.use_mirroring else None
        if not axes:
            return logits
        spatial = [axis + 2 for axis in axes]
        flips = [flip for count in range(len(spatial)) for flip in combinations(spatial, count + 1)]
        for flip in flips:
            logits = logits + torch.flip(network(torch.flip(window, flip)), flip)
        return logits / (len(flips) + 1)

    def _gaussian(self, size: Any, device: torch.device) -> torch.Tensor:
        if not self.predictor.use_gaussian:
            return torch.ones((), dtype=torch.half, device=device)
        # A copy: nnU-Net keeps the tensor, which may be one of inference mode.
        return compute_gaussian(tuple(size), sigma_scale=1.0 / 8, value_scaling_factor=10, device=device).clone()


class _Half(torch.autograd.Function):
    """Rounding to half precision, kept in float32, with the gradient of no rounding."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.half().float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def _autocast(device: torch.device) -> AbstractContextManager[Any]:
    """As nnU-Net: on a GPU only."""
    return torch.autocast(device.type, enabled=True) if device.type == "cuda" else nullcontext()
