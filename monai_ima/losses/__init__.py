"""Attack objectives and training losses: tensors in, one value a sample or a scalar out."""

from .divergence import divergence
from .ima import IMALoss
from .mma import MMALoss
from .reduction import find_reduction
from .segmentation import SegmentationLoss
from .soft_logit_margin import soft_logit_margin
from .trades import TRADESLoss

__all__ = ["IMALoss", "MMALoss", "SegmentationLoss", "TRADESLoss", "divergence", "find_reduction", "soft_logit_margin"]
