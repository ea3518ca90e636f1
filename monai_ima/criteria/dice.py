from __future__ import annotations

import torch
from monai.metrics import compute_dice

from .segmentation import SegmentationCriterion

__all__ = ["DiceCriterion"]


class DiceCriterion(SegmentationCriterion):
    """Correct when the mean Dice over the classes present in the label is at least τ.

    Arguments, shapes and errors as for :class:`SegmentationCriterion`. The score is MONAI's ``compute_dice``.

    Example:
        >>> label = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        >>> logits = torch.tensor([1.0, -1.0, -1.0, -1.0]).view(1, 1, 2, 2)
        >>> criterion = DiceCriterion(0.8)
        >>> two = torch.cat([-logits, logits], dim=1)
        >>> criterion.score(two, label), criterion(two, label)
        (tensor([0.6667]), tensor([False]))
    """

    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return compute_dice(prediction, label, include_background=self.include_background)
