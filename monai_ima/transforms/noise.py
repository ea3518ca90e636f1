from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

from monai_ima.attacks.channels import attacked_channels
from monai_ima.perturbations.norms import get_norm
from monai_ima.utils.checks import check_bounds, check_channels, check_fraction, is_number, shown

__all__ = ["RandUniformNoise", "RandUniformNoised"]


class RandUniformNoise(RandomizableTransform):
    """Add noise drawn uniformly from the ball ``‖noise‖ <= eps``, then clip to the bounds.

    Args:
        eps: radius in the image's units, >= 0; a pair ``(lo, hi)`` draws the radius uniformly between the two.
        norm: ``"l2"`` or ``"linf"``.
        prob: probability that an image gets noise, in [0, 1].
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        channels: of the image that noise may change; None means all.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> noisy = RandUniformNoise(eps=0.1, norm="linf", prob=1.0)(torch.zeros(1, 8, 8))
        >>> 0.05 < noisy.abs().max() <= 0.1
        tensor(True)
    """

    def __init__(
        self,
        eps: float | tuple[float, float],
        norm: str = "linf",
        prob: float = 0.1,
        bounds: Sequence[float] | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(check_fraction("prob", prob))
        pair: tuple[Any, ...] = (eps, eps) if is_number(eps) else tuple(eps) if isinstance(eps, Sequence) else ()
        if len(pair) != 2 or not all(map(is_number, pair)) or not 0 <= pair[0] <= pair[1] < math.inf:
            raise ValueError(f"Got eps {shown(eps)}, expected a finite number >= 0 or a pair of them in rising order.")
        self.eps = (float(pair[0]), float(pair[1]))
        self.norm = get_norm(norm)
        self.bounds = check_bounds(bounds)
        self.channels = check_channels(channels)
        self._radius = 0.0
        self._noise_seed = 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        self._radius = float(self.R.uniform(*self.eps))
        self._noise_seed = int(self.R.randint(2**31, dtype=np.int64))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Apply to ``img``, ``[C, *spatial]``, floating point."""
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        image = convert_to_tensor(img, track_meta=False)
        if not image.is_floating_point():
            raise ValueError(f"RandUniformNoise got an image of type {image.dtype}, expected floating point.")
        generator = torch.Generator(image.device).manual_seed(self._noise_seed)
        radius = torch.tensor([self._radius], dtype=image.dtype, device=image.device)
        index = attacked_channels(self.channels, image[None])
        part = image[None, index]
        noisy = part + self.norm.draw(part, radius, generator)
        if self.bounds is not None:
            noisy = noisy.clamp(*self.bounds)
        return convert_to_dst_type(image.index_copy(0, index, noisy[0]), img)[0]


class RandUniformNoised(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`RandUniformNoise`; the keys of one item get the same draw.

    Args:
        keys: keys of the images.
        eps: see :class:`RandUniformNoise`.
        norm: see :class:`RandUniformNoise`.
        prob: see :class:`RandUniformNoise`.
        bounds: see :class:`RandUniformNoise`.
        channels: see :class:`RandUniformNoise`.
        allow_missing_keys: see ``monai.transforms.MapTransform``.

    Example:
        >>> item = RandUniformNoised("image", eps=1.0, norm="l2", prob=1.0)({"image": torch.zeros(1, 8, 8)})
        >>> item["image"].norm() <= 1.0
        tensor(True)
    """

    def __init__(
        self,
        keys: KeysCollection,
        eps: float | tuple[float, float],
        norm: str = "linf",
        prob: float = 0.1,
        bounds: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
        channels: Sequence[int] | None = None,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.adder = RandUniformNoise(eps, norm, prob, bounds, channels)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandUniformNoised:
        super().set_random_state(seed, state)
        self.adder.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.adder.randomize()
        for key in self.key_iterator(item):
            item[key] = self.adder(item[key], randomize=False)
        return item
