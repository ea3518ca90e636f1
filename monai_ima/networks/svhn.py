from __future__ import annotations

from .small_cnn import SmallCNN

__all__ = ["SVHNNet"]

CONVOLUTIONS = ((32, 1), (32, 2), (64, 1), (64, 2), (96, 1), (96, 2))
"""Channels and stride; the image shrinks from 32 to 16 to 8 to 4 pixels."""

HIDDEN = 128


class SVHNNet(SmallCNN):
    """A small network for SVHN: colour images of 32 x 32 pixels, intensities 0..1.

    **Its layers are not taken from the IMA paper** (arXiv 2005.09147), whose description of its SVHN network was not at
    hand; they are ours, in the spirit of the paper's small networks without batch statistics:

    - 3 x 3 convolutions to 32, 32 (stride 2), 64, 64 (stride 2), 96 and 96 (stride 2) channels, each with per-sample
      normalisation and ReLU
    - fully connected: 96 x 4 x 4 to 128, ReLU
    - fully connected: 128 to ``num_classes``

    402 794 parameters with 10 classes.

    Args:
        num_classes: number of logits.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(3, 32, CONVOLUTIONS, HIDDEN, num_classes)
