"""The plain convolutional networks of the IMA paper (arXiv 2005.09147): layers one after another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monai_ima.utils.checks import check_count

__all__ = ["ECGNet", "FashionMNISTNet", "SVHNNet"]


class _PlainStack(nn.Module):
    """Layers one after another, for inputs of one shape.

    Args:
        inputs: what the network classifies, in the plural, for its error message.
        shape: of one input, ``[C, *spatial]``.
        layers: in the order in which they are applied.
    """

    def __init__(self, inputs: str, shape: Sequence[int], *layers: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.shape = list(shape)
        self.expected = f"[B, {', '.join(map(str, shape))}]"
        self.layers = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of inputs ``[B, *shape]``.

        Raises:
            ValueError: if the inputs have another shape.
        """
        if list(image.shape[1:]) != self.shape:
            raise ValueError(f"Got {self.inputs} of shape {list(image.shape)}, expected {self.expected}.")
        return self.layers(image)


class ECGNet(_PlainStack):
    """The ECG network of section 3.1 of the IMA paper (arXiv 2005.09147), for single beats ``[B, 1, 187]``.

    =========================  ==========================================================
    the paper                  here
    =========================  ==========================================================
    COV(1, 32, 5, 2, 2) - LR   convolution, 5 wide, stride 2, padding 2: 94 samples left
    COV(32, 32, 5, 2, 2) - LR  three times: 47, 24 and 12 samples left
    Linear(384, 128) - LR      384 = 32 x 12
    Linear(128, 128) - LR      twice
    Linear(128, 5)             the logits
    =========================  ==========================================================

    98 597 parameters with one lead and five classes. The paper gives no slope for its leaky ReLU (LR): it is
    PyTorch's default, 0.01, here.

    Args:
        in_channels: leads, >= 1.
        num_classes: number of logits, >= 1.

    Raises:
        ValueError: if an argument < 1.

    Example:
        >>> ECGNet()(torch.rand(8, 1, 187)).shape
        torch.Size([8, 5])
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 5) -> None:
        leads = check_count("in_channels", in_channels, 1)
        super().__init__(
            "beats",
            (leads, 187),
            nn.Conv1d(leads, 32, 5, stride=2, padding=2),
            nn.LeakyReLU(),
            nn.Conv1d(32, 32, 5, stride=2, padding=2),
            nn.LeakyReLU(),
            nn.Conv1d(32, 32, 5, stride=2, padding=2),
            nn.LeakyReLU(),
            nn.Conv1d(32, 32, 5, stride=2, padding=2),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(384, 128),
            nn.LeakyReLU(),
            nn.Linear(128, 128),
            nn.LeakyReLU(),
            nn.Linear(128, 128),
            nn.LeakyReLU(),
            nn.Linear(128, check_count("num_classes", num_classes, 1)),
        )


class FashionMNISTNet(_PlainStack):
    """The Fashion-MNIST network of section 3.2 of the IMA paper (arXiv 2005.09147), for images ``[B, 1, 28, 28]``.

    ============================== ====================================================
    the paper                      here
    ============================== ====================================================
    COV(1, 32, 3, 1, 1) - LR - MP  3 x 3 convolution, max-pooling: 14 x 14 pixels left
    COV(32, 64, 3, 1, 1) - LR - MP 7 x 7 pixels left
    Linear(7 x 7 x 64, 1024) - LR
    Linear(1024, 10)               the logits
    ============================== ====================================================

    3 241 354 parameters with ten classes. The paper gives no slope for its leaky ReLU (LR): it is PyTorch's default,
    0.01, here.

    Args:
        num_classes: number of logits, >= 1.

    Raises:
        ValueError: if ``num_classes`` < 1.

    Example:
        >>> FashionMNISTNet()(torch.rand(8, 1, 28, 28)).shape
        torch.Size([8, 10])
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(
            "images",
            (1, 28, 28),
            nn.Conv2d(1, 32, 3, padding=1),
            nn.LeakyReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.LeakyReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(7 * 7 * 64, 1024),
            nn.LeakyReLU(),
            nn.Linear(1024, check_count("num_classes", num_classes, 1)),
        )


class SVHNNet(_PlainStack):
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
