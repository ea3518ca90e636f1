"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import nn

from monai_ima.utils.checks import check_choice, check_count, check_fraction

__all__ = ["OCTNet", "ResNet2d", "WideResNet"]

OCT_STAGES = 4

RESNETS = {18: ("basic", [2, 2, 2, 2]), 50: ("bottleneck", [3, 4, 6, 3])}
"""By depth: the kind of block, and how many each stage has."""

STEM_CHANNELS = 16
"""Of wide residual networks."""


class OCTNet(nn.Module):
    """ResNet-18 with instance normalisation, the OCT network of section 3.4 of the IMA paper (arXiv 2005.09147).

    He et al. 2016 (arXiv 1512.03385): 7 x 7 convolution with stride 2, max-pooling, four stages of two basic blocks,
    mean over the pixels, a fully connected layer. **Every** normalisation, 20 of them, is affine instance
    normalisation, so that no layer looks at the other samples of a batch. MONAI 1.6.1's ``ResNet`` hands its argument
    ``norm`` to the stem only (its pull request 9028); the batch normalisation in its blocks is replaced here.

    11 172 292 parameters with one channel and four classes.

    Args:
        in_channels: of the image, >= 1.
        num_classes: number of logits, >= 1.
        channels: of the four stages, each >= 1. Smaller ones than the default make a smaller network than the paper's.
        blocks: of the four stages, each >= 1.

    Raises:
        ValueError: if a number < 1, or ``channels`` or ``blocks`` are not four.

    Example:
        >>> OCTNet()(torch.rand(2, 1, 224, 224)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 4,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.resnet = _named_resnet("basic", _stages("blocks", blocks), channels, self.in_channels, num_classes)
        _normalise_by_instance(self.resnet)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, height, width]``.

        Raises:
            ValueError: if the images have another number of dimensions or channels, or are so small that one pixel is
                left of them, which instance normalisation would make 0.
        """
        _check_shape(image, self.in_channels)
        _check_large_enough(image)
        return self.resnet(image)


class ResNet2d(nn.Module):
    """ResNet-18 or ResNet-50 of He et al. 2016 (arXiv 1512.03385), normalised by instance or by batch throughout.

    The layers are torchvision's. MONAI 1.6.1's ``ResNet`` hands its argument ``norm`` to the stem only (its pull
    request 9028); for ``norm="instance"`` the batch normalisation in its blocks is replaced here.

    Args:
        depth: 18 or 50.
        norm: "instance", affine, so that no layer looks at the other samples of a batch; or "batch".
        in_channels: of the image, >= 1.
        num_classes: number of logits, >= 1.
        channels: of the four stages (at 50 layers a quarter of what leaves them), each >= 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> ResNet2d(depth=18, num_classes=3)(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        depth: int = 18,
        norm: str = "instance",
        in_channels: int = 1,
        num_classes: int = 2,
        channels: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        if depth not in RESNETS:
            raise ValueError(f"Got depth {depth!r}, expected one of {', '.join(map(str, RESNETS))}.")
        check_choice("norm", norm, ("instance", "batch"))
        block, layers = RESNETS[depth]
        super().__init__()
        self.in_channels = check_count("in_channels", in_channels, 1)
        self.resnet = _named_resnet(block, layers, channels, self.in_channels, num_classes)
        self.by_instance = norm == "instance"
        if self.by_instance:
            _normalise_by_instance(self.resnet)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, height, width]``.

        Raises:
            ValueError: if the images have another number of dimensions or channels, or are so small that one pixel is
                left of them, which instance normalisation would make 0.
        """
        _check_shape(image, self.in_channels)
        if self.by_instance:
            _check_large_enough(image)
        return self.resnet(image)


def _named_resnet(block: str, layers: list[int], channels: Sequence[int], in_channels: int, num_classes: int) -> ResNet:
    """MONAI's, with torchvision's layers in two dimensions."""
    return ResNet(
        block=block,
        layers=layers,
        block_inplanes=_stages("channels", channels),
        spatial_dims=2,
        n_input_channels=in_channels,
        conv1_t_stride=2,
        num_classes=check_count("num_classes", num_classes, 1),
        bias_downsample=False,
    )


def _normalise_by_instance(network: nn.Module) -> None:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            network.set_submodule(name, nn.InstanceNorm2d(layer.num_features, affine=True))


def _stages(name: str, values: Sequence[int]) -> list[int]:
    if not isinstance(values, Sequence) or len(values) != OCT_STAGES:
        raise ValueError(f"Got {name} {values!r}, expected {OCT_STAGES} integers, one for each stage.")
    return [check_count(name, value, 1) for value in values]


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
        self, depth: int = 28, widen_factor: int = 4, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 10 or (depth - 4) % 6:
            raise ValueError(f"Got depth {depth}, expected 10, 16, 22, 28 or another 6 n + 4.")
        widen_factor = check_count("widen_factor", widen_factor, 1)
        num_classes = check_count("num_classes", num_classes, 1)
        in_channels = check_count("in_channels", in_channels, 1)
        check_fraction("dropout", dropout, "[)")
        self.in_channels = in_channels
        self.stem = _convolution(in_channels, STEM_CHANNELS, kernel_size=3)
        groups, channels = [], STEM_CHANNELS
        for width, stride in ((16 * widen_factor, 1), (32 * widen_factor, 2), (64 * widen_factor, 2)):
            others = (_Block(width, width, 1, dropout) for _ in range((depth - 4) // 6 - 1))
            groups.append(nn.Sequential(_Block(channels, width, stride, dropout), *others))
            channels = width
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
        _check_shape(image, self.in_channels)
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


def _check_large_enough(image: torch.Tensor) -> None:
    if max(image.shape[2], image.shape[3]) <= 32:
        raise ValueError(
            f"Got images of {image.shape[2]} x {image.shape[3]} pixels, expected a side longer than 32: "
            "instance normalisation needs more than one pixel in the last stage."
        )


def _check_shape(image: torch.Tensor, in_channels: int) -> None:
    if image.dim() != 4 or image.shape[1] != in_channels:
        raise ValueError(f"Got images of shape {list(image.shape)}, expected [B, {in_channels}, height, width].")
