from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["SmallCNN"]


class SmallCNN(nn.Module):
    """A row of 3 x 3 convolutions, then two fully connected layers.

    A convolution is followed by ``nn.GroupNorm`` with one group, which normalises each sample by itself over channels
    and pixels, and ReLU; so is the first fully connected layer, without normalisation. No layer looks at the other
    samples of a batch, in training or later.

    Args:
        in_channels: of the image.
        size: side of the image in pixels.
        convolutions: ``(channels, stride)`` of each convolution, padding 1.
        hidden: width of the first fully connected layer.
        num_classes: number of logits.
    """

    def __init__(
        self, in_channels: int, size: int, convolutions: Sequence[tuple[int, int]], hidden: int, num_classes: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.size = size
        layers: list[nn.Module] = []
        channels, side = in_channels, size
        for out_channels, stride in convolutions:
            layers += [
                nn.Conv2d(channels, out_channels, kernel_size=3, stride=stride, padding=1),
                nn.GroupNorm(1, out_channels),
                nn.ReLU(),
            ]
            channels, side = out_channels, -(-side // stride)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * side * side, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, size, size]``.

        Raises:
            ValueError: when the images have another shape.
        """
        if image.shape[1:] != (self.in_channels, self.size, self.size):
            raise ValueError(
                f"Got images of shape {list(image.shape)}, expected [B, {self.in_channels}, {self.size}, {self.size}]."
            )
        return self.classifier(self.features(image))
