"""Evaluation under attack, and trainers with more handlers."""

from .false_robustness import CheckResult, RobustnessChecks, Samples
from .prepare_batch import AdversarialPrepareBatch
from .robustness import RobustnessEvaluator, RobustnessResult, SampleRecord
from .segmentation import ScanRecord, SegmentationEvaluator, SegmentationResult
from .with_handlers import with_handlers

__all__ = [
    "AdversarialPrepareBatch",
    "CheckResult",
    "RobustnessChecks",
    "RobustnessEvaluator",
    "RobustnessResult",
    "SampleRecord",
    "Samples",
    "ScanRecord",
    "SegmentationEvaluator",
    "SegmentationResult",
    "with_handlers",
]
