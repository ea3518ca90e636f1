"""Is a prediction correct, and by how much?"""

from .base import AlwaysCorrect, Criterion
from .classification import BinaryCriterion, ClassificationCriterion
from .dice import DiceCriterion
from .divergence import DivergenceCriterion
from .segmentation import SegmentationCriterion
from .surface_dice import SurfaceDiceCriterion

__all__ = [
    "AlwaysCorrect",
    "BinaryCriterion",
    "ClassificationCriterion",
    "Criterion",
    "DiceCriterion",
    "DivergenceCriterion",
    "SegmentationCriterion",
    "SurfaceDiceCriterion",
]
