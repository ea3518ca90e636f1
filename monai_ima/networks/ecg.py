from __future__ import annotations

import torch
from torch import nn

__all__ = ["ECGNet"]

SAMPLES = 187
CHANNELS = 32
BLOCKS = 5


class ECGNet(nn.Module):
    """The residual 1-D network of Kachuee et al. 2018 (arXiv 1805.00794) for single ECG beats.

    A convolution with 32 channels; five residual blocks of two convolutions, each followed by max-pooling over 5
    samples with stride 2 (187, 92, 44, 20, 8, 2 samples are left); two linear layers, 64 to 32 to the classes. All
    convolutions are 5 wide and padded by 2, the non-linearity is ReLU, nothing is normalised.

    The IMA authors use this network on the same beats in their published work on ECG. Section 3 of the IMA paper (arXiv
    2005.09147) was not at hand: this is Kachuee's network, not checked against the listing there.

    Args:
        in_channels: leads, >= 1.
        num_classes: >= 2.

    Raises:
        ValueError: when an argument is not as above.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 5) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"Got in_channels {in_channels}, expected a whole number >= 1.")
        if num_classes < 2:
            raise ValueError(f"Got num_classes {num_classes}, expected a whole number >= 2.")
        self.in_channels = in_channels
        self.samples = SAMPLES
        self.features = nn.Sequential(_convolution(in_channels), *(ResidualBlock() for _ in range(BLOCKS)))
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, num_classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of beats ``[B, in_channels, 187]``.

        Raises:
            ValueError: when the beats have another shape.
        """
        if image.ndim != 3 or image.shape[1] != self.in_channels or image.shape[2] != self.samples:
            raise ValueError(
                f"Got beats of shape {list(image.shape)}, expected [B, {self.in_channels}, {self.samples}]."
            )
        return self.classifier(self.features(image))


class ResidualBlock(nn.Module):
    """``[B, 32, n]`` to ``[B, 32, (n - 3) // 2]``: two convolutions, sum with the input, max-pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(_convolution(CHANNELS), nn.ReLU(), _convolution(CHANNELS))
        self.pool = nn.MaxPool1d(kernel_size=5, stride=2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(features + self.convolutions(features)))


def _convolution(in_channels: int) -> nn.Conv1d:
    return nn.Conv1d(in_channels, CHANNELS, kernel_size=5, padding=2)
