"""Robustness of a network on a data loader, and whether the figures can be trusted."""

from monai_ima.results.settings import EvaluationSettings

from .api import evaluate
from .batch import EvaluationBatch, evaluation_batch
from .classification import ClassificationEvaluator, ClassificationOutcome
from .gradient_masking import GradientMaskingChecks
from .segmentation import SegmentationEvaluator, SegmentationOutcome

__all__ = [
    "ClassificationEvaluator",
    "ClassificationOutcome",
    "EvaluationBatch",
    "EvaluationSettings",
    "GradientMaskingChecks",
    "SegmentationEvaluator",
    "SegmentationOutcome",
    "evaluate",
    "evaluation_batch",
]
