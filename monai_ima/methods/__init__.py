"""Training methods without an engine: what replaces a batch's loss, and what an epoch's end changes."""

from monai_ima.utils.batch import Batch

from .base import MethodSettings, TrainingMethod
from .ddn import DDN
from .iaat import IAAT
from .ima import IMA
from .mma import MMA
from .per_sample import PerSampleMethod
from .pgd import PGDTraining
from .trades import TRADES

__all__ = [
    "DDN",
    "IAAT",
    "IMA",
    "MMA",
    "TRADES",
    "Batch",
    "MethodSettings",
    "PGDTraining",
    "PerSampleMethod",
    "TrainingMethod",
]
