"""nnU-Net v2 with the training methods, and its trained folds under attack; needs the extra ``nnunet``."""

from .evaluate import evaluate_fold
from .fold import TrainedFold, open_fold
from .inferer import NNUNetInferer
from .training import AdversarialNNUNetTrainer, nnUNetTrainerIMA, nnUNetTrainerPGD

__all__ = [
    "AdversarialNNUNetTrainer",
    "NNUNetInferer",
    "TrainedFold",
    "evaluate_fold",
    "nnUNetTrainerIMA",
    "nnUNetTrainerPGD",
    "open_fold",
]
