"""Training losses: tensors in, scalar out."""

from .ima import IMALoss

__all__ = ["IMALoss"]
