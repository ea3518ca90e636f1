"""Evaluation under attack, and trainers with more handlers."""

from .batch import EvaluationBatch, evaluation_batch
from .false_robustness import CheckResult, RobustnessChecks
from .prepare_batch import AdversarialPrepareBatch
from .robustness import RobustnessEvaluator, RobustnessResult, SampleRecord
from .segmentation import ScanRecord, SegmentationEvaluator, SegmentationResult
from .with_handlers import with_handlers

__all__ = [
    "AdversarialPrepareBatch",
    "CheckResult",
    "EvaluationBatch",
    "RobustnessChecks",
    "RobustnessEvaluator",
    "RobustnessResult",
    "SampleRecord",
    "ScanRecord",
    "SegmentationEvaluator",
    "SegmentationResult",
    "evaluation_batch",
    "with_handlers",
]
