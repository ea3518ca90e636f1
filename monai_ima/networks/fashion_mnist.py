from __future__ import annotations

from .small_cnn import SmallCNN

__all__ = ["FashionMNISTNet"]

CONVOLUTIONS = ((32, 2), (64, 2), (64, 1))
"""Channels and stride; the image shrinks from 28 to 14 to 7 pixels."""

HIDDEN = 128


class FashionMNISTNet(SmallCNN):
    """A small network for Fashion-MNIST: grey images of 28 x 28 pixels, intensities 0..1.

    **Its layers are not taken from the IMA paper** (arXiv 2005.09147), whose description of its Fashion-MNIST network
    was not at hand; they are ours, in the spirit of the paper's small networks without batch statistics:

    - 3 x 3 convolutions to 32 (stride 2), 64 (stride 2) and 64 channels, each with per-sample normalisation and ReLU
    - fully connected: 64 x 7 x 7 to 128, ReLU
    - fully connected: 128 to ``num_classes``

    458 890 parameters with 10 classes.

    Args:
        num_classes: number of logits.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(1, 28, CONVOLUTIONS, HIDDEN, num_classes)
