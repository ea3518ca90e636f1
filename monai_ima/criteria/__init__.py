"""Is a prediction correct, and by how much?"""

from .base import AlwaysCorrect, Criterion, check_criterion
from .classification import BinaryCriterion, ClassificationCriterion
from .divergence import DivergenceCriterion
from .from_shapes import criterion_of_shapes
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
    "criterion_of_shapes",
]
