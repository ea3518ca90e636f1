from __future__ import annotations

from torch import nn

from monai_ima.utils.checks import check_count

from .plain_stack import PlainStack

__all__ = ["SVHNNet"]


class SVHNNet(PlainStack):
    """The SVHN network of section 3.3 of the IMA paper (arXiv 2005.09147), for images ``[B, 3, 32, 32]``.

    ==================================== ======================================
    the paper                            here
    ==================================== ======================================
    COV(3, 32, 3, 1, 1) - BN - ReLU      3 x 3 convolution, batch normalisation
    COV(32, 32, 3, 1, 1) - BN - ReLU, MP 16 x 16 pixels left
    COV(32, 64, 3, 1, 1) - BN - ReLU
    COV(64, 64, 3, 1, 1) - BN - ReLU, MP 8 x 8 pixels left
    COV(64, 128, 3, 1, 1) - BN - ReLU
    COV(128, 128, 3, 1, 1) - BN - ReLU,  4 x 4 pixels left
    MP
    COV(128, 256, 3, 1, 0) - BN - ReLU,  2 x 2 pixels, then one
    MP
    Linear(256, 10)                      the logits
    ==================================== ======================================

    586 154 parameters with ten classes, of which the weights and biases of batch normalisation are 1408.

    Args:
        num_classes: number of logits, >= 1.

    Raises:
        ValueError: if ``num_classes`` < 1.

    Example:
        >>> SVHNNet()(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 10])
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(
            "images",
            (3, 32, 32),
            *_convolution(3, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            *_convolution(64, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            *_convolution(128, 128),
            nn.MaxPool2d(2),
            *_convolution(128, 256, padding=0),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, check_count("num_classes", num_classes, 1)),
        )


def _convolution(in_channels: int, out_channels: int, padding: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, out_channels, 3, padding=padding), nn.BatchNorm2d(out_channels), nn.ReLU()
