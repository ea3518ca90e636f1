"""Robustness of a network on a data loader, and whether the figures can be trusted."""

from .batch import EvaluationBatch, evaluation_batch
from .classification import RobustnessEvaluator, RobustnessResult, SampleRecord
from .gradient_masking import CheckResult, RobustnessChecks
from .segmentation import ScanRecord, SegmentationEvaluator, SegmentationResult

__all__ = [
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
]
