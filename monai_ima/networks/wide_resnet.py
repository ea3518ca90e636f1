from __future__ import annotations

import torch
from torch import nn

__all__ = ["WideResNet"]

STEM_CHANNELS = 16


class WideResNet(nn.Module):
    """Wide residual network with pre-activation (Zagoruyko & Komodakis 2016, arXiv 1605.07146).

    A 3 x 3 convolution to 16 channels; three groups of ``(depth - 4) / 6`` blocks with 16, 32 and 64 times
    ``widen_factor`` channels, the second and third group halving the image; batch normalisation, ReLU, mean over the
    pixels, a fully connected layer. WRN-28-4 has 5.85 million parameters.

    Args:
        depth: number of convolutions along the longest path plus one: 6 n + 4, such as 10, 16, 22, 28.
        widen_factor: >= 1.
        num_classes: number of logits, >= 1.
        in_channels: of the image, >= 1.
        dropout: probability of dropping a value between a block's two convolutions, in [0, 1).

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> WideResNet(depth=10, widen_factor=1)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int = 28,
        widen_factor: int = 4,
        num_classes: int = 10,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
            raise ValueError(f"Got depth {depth}, expected 10, 16, 22, 28 or another 6 n + 4.")
        for name, value in (("widen_factor", widen_factor), ("num_classes", num_classes), ("in_channels", in_channels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Got {name} {value}, expected an integer >= 1.")
        if not 0 <= dropout < 1:
            raise ValueError(f"Got dropout {dropout}, expected a number in [0, 1).")
        self.in_channels = in_channels
        self.stem = _convolution(in_channels, STEM_CHANNELS, kernel_size=3)
        groups, channels = [], STEM_CHANNELS
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            blocks = []
            for k in range((depth - 4) // 6):
                blocks.append(_Block(channels, width * widen_factor, stride if k == 0 else 1, dropout))
                channels = width * widen_factor
            groups.append(nn.Sequential(*blocks))
        self.groups = nn.Sequential(*groups)
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, height, width]``.

        Raises:
            ValueError: when the images have another number of dimensions or channels.
        """
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"Got images of shape {list(image.shape)}, expected [B, {self.in_channels}, height, width]."
            )
        return self.head(self.groups(self.stem(image)))


class _Block(nn.Module):
    """Two times batch normalisation, ReLU and 3 x 3 convolution, added to the shortcut.

    Where the shape changes, the shortcut is a 1 x 1 convolution that starts after the first ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.activate = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.convolve = nn.Sequential(
            _convolution(in_channels, out_channels, kernel_size=3, stride=stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            _convolution(out_channels, out_channels, kernel_size=3),
        )
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else _convolution(in_channels, out_channels, kernel_size=1, stride=stride)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        active = self.activate(image)
        around = image if self.shortcut is None else self.shortcut(active)
        return around + self.convolve(active)


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
