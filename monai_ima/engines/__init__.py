"""Evaluation under attack."""

from .prepare_batch import AdversarialPrepareBatch
from .robustness import RobustnessEvaluator, RobustnessResult
from .segmentation import ScanRecord, SegmentationEvaluator, SegmentationResult

__all__ = [
    "AdversarialPrepareBatch",
    "RobustnessEvaluator",
    "RobustnessResult",
    "ScanRecord",
    "SegmentationEvaluator",
    "SegmentationResult",
]
