"""Evaluation under attack, and trainers with more handlers."""

from .prepare_batch import AdversarialPrepareBatch
from .robustness import RobustnessEvaluator, RobustnessResult
from .segmentation import ScanRecord, SegmentationEvaluator, SegmentationResult
from .with_handlers import with_handlers

__all__ = [
    "AdversarialPrepareBatch",
    "RobustnessEvaluator",
    "RobustnessResult",
    "ScanRecord",
    "SegmentationEvaluator",
    "SegmentationResult",
    "with_handlers",
]
