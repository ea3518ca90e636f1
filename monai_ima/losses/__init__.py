"""Training losses: tensors in, scalar out."""

from .ima import IMALoss
from .mma import MMALoss
from .trades import TRADESLoss

__all__ = ["IMALoss", "MMALoss", "TRADESLoss"]
