from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from monai.metrics import compute_surface_dice

from .segmentation import SegmentationCriterion

__all__ = ["SurfaceDiceCriterion"]


class SurfaceDiceCriterion(SegmentationCriterion):
    """Correct when the mean surface Dice over the classes present in the label is at least τ.

    Surface Dice is the share of both surfaces' edge voxels that lie within ``tolerance`` of the other surface. The
    score is MONAI's ``compute_surface_dice``; it costs a distance transform per class and evaluation.

    Args:
        threshold: see :class:`SegmentationCriterion`.
        tolerance: largest distance that counts as met, >= 0, in the units of ``spacing``.
        spacing: size of a voxel along each axis, or one number for all; None means voxels of size 1.
        include_background: see :class:`SegmentationCriterion`.
        sigmoid: see :class:`SegmentationCriterion`.

    Raises:
        ValueError: if ``threshold`` is none of these or ``tolerance`` is negative or not finite.

    Example:
        >>> label = torch.zeros(1, 1, 8, 8)
        >>> label[..., 2:6, 2:6] = 1
        >>> moved = label.roll(1, dims=-1)
        >>> two = torch.cat([-moved, 2 * moved - 1], dim=1)
        >>> SurfaceDiceCriterion(0.9, tolerance=1.0)(two, label), SurfaceDiceCriterion(0.9, tolerance=0.0)(two, label)
        (tensor([True]), tensor([False]))
    """

    def __init__(
        self,
        threshold: float | str = 0.8,
        tolerance: float = 1.0,
        spacing: float | Sequence[float] | None = None,
        include_background: bool | None = None,
        sigmoid: bool = False,
    ) -> None:
        super().__init__(threshold, include_background, sigmoid)
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"Got tolerance {tolerance}, expected a finite number >= 0.")
        self.tolerance = float(tolerance)
        self.spacing = spacing

    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        first = 0 if self.include_background else 1
        prediction, label = prediction[:, first:], label[:, first:]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the (ground truth|prediction) of class")
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
            scores = compute_surface_dice(
                prediction,
                label,
                [self.tolerance] * label.shape[1],
                include_background=True,
                spacing=self.spacing,
            )
        present = label.flatten(2).any(dim=2)
        return torch.where(present, scores.nan_to_num(0.0), torch.nan)
