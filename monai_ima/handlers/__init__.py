"""One Ignite handler a training method, and what a run needs to be repeatable."""

from .base import AdversarialTrainingHandler, Batch
from .class_probability_csv import ClassProbabilityCSV
from .epoch_seed import EpochSeed
from .ima import IMAHandler

__all__ = ["AdversarialTrainingHandler", "Batch", "ClassProbabilityCSV", "EpochSeed", "IMAHandler"]
