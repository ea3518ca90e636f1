from __future__ import annotations

import torch
from monai.metrics import compute_dice

from .segmentation import SegmentationCriterion

__all__ = ["DiceCriterion"]


class DiceCriterion(SegmentationCriterion):
    """Right when the mean Dice over the classes present in the label is at least τ.

    Arguments, shapes and errors as for :class:`SegmentationCriterion`. The score is MONAI's ``compute_dice``.
    """

    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return compute_dice(prediction, label, include_background=self.include_background)
