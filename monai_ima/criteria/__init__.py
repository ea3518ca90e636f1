"""When is a prediction right?"""

from .base import Criterion, SampleError, first_output
from .classification import BinaryCriterion, ClassificationCriterion

__all__ = ["BinaryCriterion", "ClassificationCriterion", "Criterion", "SampleError", "first_output"]
