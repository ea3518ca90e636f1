"""When is a prediction right?"""

from .base import Criterion, NeverWrong, SampleError, first_output
from .classification import BinaryCriterion, ClassificationCriterion, soft_logit_margin
from .dice import DiceCriterion
from .divergence import DivergenceCriterion
from .segmentation import SegmentationCriterion
from .segmentation_loss import SegmentationLoss
from .surface_dice import SurfaceDiceCriterion

__all__ = [
    "BinaryCriterion",
    "ClassificationCriterion",
    "Criterion",
    "DiceCriterion",
    "DivergenceCriterion",
    "NeverWrong",
    "SampleError",
    "SegmentationCriterion",
    "SegmentationLoss",
    "SurfaceDiceCriterion",
    "first_output",
    "soft_logit_margin",
]
