from __future__ import annotations

from torch import nn

from monai_ima.utils.checks import check_count

from .plain_stack import PlainStack

__all__ = ["FashionMNISTNet"]


class FashionMNISTNet(PlainStack):
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
