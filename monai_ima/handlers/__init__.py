"""One Ignite handler a training method, and what a run needs to be repeatable."""

from .base import AdversarialTrainingHandler, Batch
from .baseline_threshold import BaselineThreshold
from .class_probability_csv import ClassProbabilityCSV
from .epoch_seed import EpochSeed
from .ima import IMAHandler
from .pgd_training import PGDTrainingHandler

__all__ = [
    "AdversarialTrainingHandler",
    "BaselineThreshold",
    "Batch",
    "ClassProbabilityCSV",
    "EpochSeed",
    "IMAHandler",
    "PGDTrainingHandler",
]
