"""One Ignite handler a training method, and what a run needs to be repeatable."""

from .base import AdversarialTrainingHandler
from .baseline_threshold import BaselineThreshold
from .best_weights import BestWeights
from .class_probability_csv import ClassProbabilityCSV
from .epoch_seed import EpochSeed
from .resumable import Resumable
from .robust_validation import RobustValidation
from .shared_tracking import SharedTracking
from .start_weights import StartWeights
from .training import (
    DDNHandler,
    IAATHandler,
    IMAHandler,
    MMAHandler,
    PGDTrainingHandler,
    TRADESHandler,
)

__all__ = [
    "AdversarialTrainingHandler",
    "BaselineThreshold",
    "BestWeights",
    "ClassProbabilityCSV",
    "DDNHandler",
    "EpochSeed",
    "IAATHandler",
    "IMAHandler",
    "MMAHandler",
    "PGDTrainingHandler",
    "Resumable",
    "RobustValidation",
    "SharedTracking",
    "StartWeights",
    "TRADESHandler",
]
