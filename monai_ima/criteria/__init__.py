"""Is a prediction correct, and by how much?"""

from .base import AlwaysCorrect, Criterion, check_criterion
from .classification import BinaryCriterion, ClassificationCriterion
from .divergence import DivergenceCriterion
from .segmentation import DiceCriterion, SegmentationCriterion, SurfaceDiceCriterion

__all__ = [
    "AlwaysCorrect",
    "BinaryCriterion",
    "ClassificationCriterion",
    "Criterion",
    "DiceCriterion",
    "DivergenceCriterion",
    "SegmentationCriterion",
    "SurfaceDiceCriterion",
    "check_criterion",
]
