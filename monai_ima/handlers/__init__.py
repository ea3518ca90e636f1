"""One Ignite handler a training method, and what a run needs to be repeatable."""

from monai_ima.utils.batch import Batch

from .base import AdversarialTrainingHandler
from .baseline_threshold import BaselineThreshold
from .class_probability_csv import ClassProbabilityCSV
from .ddn import DDNHandler
from .epoch_seed import EpochSeed
from .iaat import IAATHandler
from .ima import IMAHandler
from .mma import MMAHandler
from .per_sample import PerSampleHandler
from .pgd_training import PGDTrainingHandler
from .resumable import Resumable
from .robust_validation import RobustValidation
from .start_weights import StartWeights
from .trades import TRADESHandler

__all__ = [
    "AdversarialTrainingHandler",
    "BaselineThreshold",
    "Batch",
    "ClassProbabilityCSV",
    "DDNHandler",
    "EpochSeed",
    "IAATHandler",
    "IMAHandler",
    "MMAHandler",
    "PGDTrainingHandler",
    "PerSampleHandler",
    "Resumable",
    "RobustValidation",
    "StartWeights",
    "TRADESHandler",
]
