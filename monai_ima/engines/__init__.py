"""Evaluation under attack."""

from .prepare_batch import AdversarialPrepareBatch
from .robustness import RobustnessEvaluator, RobustnessResult

__all__ = ["AdversarialPrepareBatch", "RobustnessEvaluator", "RobustnessResult"]
