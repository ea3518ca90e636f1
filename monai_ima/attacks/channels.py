from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = ["FixedChannels", "attacked_channels"]


@dataclass(frozen=True)
class FixedChannels:
    """From some of the images' channels to predictions; the other channels are those of ``image``.

    Attributes:
        predict: from images to predictions.
        image: ``[B, C, *spatial]``.
        channels: int ``[c]``, those that :meth:`__call__` is given.

    Example:
        >>> image = torch.tensor([[[1.0], [2.0]]])
        >>> FixedChannels(torch.nn.Flatten(), image, torch.tensor([0]))(torch.tensor([[[5.0]]]))
        tensor([[5., 2.]])
    """

    predict: Callable[[torch.Tensor], Any]
    image: torch.Tensor
    channels: torch.Tensor

    @property
    def part(self) -> torch.Tensor:
        """The channels of ``image`` that may change: ``[B, c, *spatial]``."""
        return self.image.index_select(1, self.channels)

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """The images with other values in these channels: ``[B, C, *spatial]``."""
        return self.image.index_copy(1, self.channels, part)

    def __call__(self, part: torch.Tensor) -> Any:
        return self.predict(self.whole(part))

    def select(self, index: torch.Tensor) -> FixedChannels:
        """For the samples at ``index`` only."""
        predict = self.predict.select(index) if hasattr(self.predict, "select") else self.predict
        return replace(self, predict=predict, image=self.image[index])


def attacked_channels(channels: tuple[int, ...] | None, image: torch.Tensor) -> torch.Tensor:
    """The channels of a batch that noise may change: int ``[c]``, on its device.

    Args:
        channels: None means all.
        image: ``[B, C, *spatial]``.

    Raises:
        ValueError: if the images have no such channel; the sentence says how many they have.

    Example:
        >>> attacked_channels((0, 2), torch.rand(1, 3, 8, 8))
        tensor([0, 2])
    """
    count = image.shape[1]
    if channels is not None and channels[-1] >= count:
        raise ValueError(f"Got channels {channels} for images of {count} channels, expected some of 0 .. {count - 1}.")
    return torch.tensor(range(count) if channels is None else channels, device=image.device)
