from __future__ import annotations

from torch import nn

from monai_ima.utils.checks import check_count

from .plain_stack import PlainStack

__all__ = ["ECGNet"]


class ECGNet(PlainStack):
    """The ECG network of section 3.1 of the IMA paper (arXiv 2005.09147), for single beats ``[B, 1, 187]``.

    ========================  ==========================================================
    the paper                 here
    ========================  ==========================================================
    COV(1, 32, 5, 2, 2) - LR  convolution, 5 wide, stride 2, padding 2: 94 samples left
    COV(32, 32, 5, 2, 2) - LR three times: 47, 24 and 12 samples left
    Linear(384, 128) - LR     384 = 32 x 12
    Linear(128, 128) - LR     twice
    Linear(128, 5)            the logits
    ========================  ==========================================================

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
