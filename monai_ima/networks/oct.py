from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import nn

from monai_ima.utils.checks import check_count

__all__ = ["OCTNet"]

STAGES = 4


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
        self.resnet = ResNet(
            block="basic",
            layers=_stages("blocks", blocks),
            block_inplanes=_stages("channels", channels),
            spatial_dims=2,
            n_input_channels=self.in_channels,
            conv1_t_stride=2,
            num_classes=check_count("num_classes", num_classes, 1),
            bias_downsample=False,
        )
        for name, layer in list(self.resnet.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                self.resnet.set_submodule(name, nn.InstanceNorm2d(layer.num_features, affine=True))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, in_channels, height, width]``.

        Raises:
            ValueError: if the images have another number of dimensions or channels, or are so small that one pixel is
                left of them, which instance normalisation would make 0.
        """
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"Got images of shape {list(image.shape)}, expected [B, {self.in_channels}, height, width]."
            )
        if max(image.shape[2], image.shape[3]) <= 32:
            raise ValueError(
                f"Got images of {image.shape[2]} x {image.shape[3]} pixels, expected a side longer than 32: "
                "instance normalisation needs more than one pixel in the last stage."
            )
        return self.resnet(image)


def _stages(name: str, values: Sequence[int]) -> list[int]:
    if not isinstance(values, Sequence) or len(values) != STAGES:
        raise ValueError(f"Got {name} {values!r}, expected {STAGES} integers, one for each stage.")
    return [check_count(name, value, 1) for value in values]
