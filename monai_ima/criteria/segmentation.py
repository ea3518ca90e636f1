from __future__ import annotations

import copy
import math
import re
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics import compute_surface_dice

from monai_ima.losses.segmentation import SegmentationLoss
from monai_ima.utils.checks import check_bool, check_not_negative
from monai_ima.utils.ignored_labels import counted_voxels
from monai_ima.utils.label_maps import first_head, prediction_maps, target_maps

from .base import Criterion

__all__ = ["DiceCriterion", "SegmentationCriterion", "SurfaceDiceCriterion"]

LEAST = 1e-30
"""A threshold that any overlap passes, also in float32."""


class SegmentationCriterion(Criterion):
    """A segmentation is correct when its score against the label is at least a threshold τ.

    Logits are ``[B, K, *spatial]``, 2-D or 3-D; of deep-supervision outputs stacked as ``[B, heads, K, *spatial]``
    (``DynUNet`` in training mode) the first head counts. Predictions are the largest of K >= 2 channels (softmax), or
    every channel by itself from logit 0 on (``sigmoid=True``). Labels are class indices ``[B, 1, *spatial]`` or
    one-hot ``[B, K, *spatial]``; with ``sigmoid=True`` one binary map a channel. Only classes that are present in a
    sample's label count; a sample without any (a crop of background) has score NaN: it is never correct, has no
    boundary, and is left out when margins move.

    Args:
        threshold: τ, one of

            - a number in (0, 1];
            - ``"baseline"``: the mean clean validation score of the plain-trained network that training starts from,
              found by :class:`monai_ima.handlers.BaselineThreshold`;
            - ``"relative:q"``, q in (0, 1]: q times the sample's own clean score, so that hard cases have a boundary
              too; a sample of score 0 is misclassified;
            - ``"lowest"``: misclassified only where nothing overlaps, so that an attack continues to the lowest score
              it finds; this is what robustness is measured with.
        include_background: count channel 0; None means: only with ``sigmoid=True``.
        sigmoid: see above.
        ignore_index: voxels of this label count nowhere, whatever is predicted there: they are cut out of prediction
            and label (:func:`~monai_ima.utils.ignored_labels.counted_voxels` says how labels of several channels mark
            them), and get no gradient from the attack's loss. None: all count.

    Raises:
        ValueError: if ``threshold`` is none of these, or ``ignore_index`` is no integer.

    Example:
        >>> isinstance(DiceCriterion("relative:0.9"), SegmentationCriterion)
        True
        >>> DiceCriterion("baseline").awaits_baseline
        True
    """

    def __init__(
        self,
        threshold: float | str = 0.8,
        include_background: bool | None = None,
        sigmoid: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.threshold, self.relative = _parse(threshold)
        self.asked = threshold
        self.sigmoid = check_bool("sigmoid", sigmoid)
        given = sigmoid if include_background is None else include_background
        self.include_background = check_bool("include_background", given)
        self.attack_loss = SegmentationLoss(
            include_background=self.include_background, sigmoid=sigmoid, ignore_index=ignore_index
        )
        self.ignore_index = self.attack_loss.ignore_index
        self._limits: torch.Tensor | None = None

    @property
    def awaits_baseline(self) -> bool:
        """The threshold is ``"baseline"`` and has not been found yet."""
        return self.threshold is None and self.relative is None

    @abstractmethod
    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Scores of binary maps, ``[B, K, *spatial]`` each: float ``[B, classes that count]``, NaN where one is absent
        from the label."""

    def scores_by_class(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The score of each class that counts: float ``[B, K']`` in [0, 1], NaN where a class is not in the label.

        Raises:
            ValueError: when the shapes do not fit.
            SampleError: if a label holds other values than these.
        """
        return self.class_scores(*self.maps(first_head(logits, label), label))

    def maps(self, logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is predicted, and the label, as float maps of 0 and 1; both are 0 where the label is ignored.

        Args:
            logits: of one head, ``[B, K, *spatial]``.
            label: of :meth:`score`.
        """
        counted = self.counted(logits, label)
        prediction = prediction_maps(logits, self.sigmoid)
        target = target_maps(label, logits, self.sigmoid, counted)
        return prediction if counted is None else prediction.masked_fill(~counted, 0), target

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
        if self.ignore_index is None:
            return None
        return counted_voxels(label, first_head(logits, label), self.sigmoid, self.ignore_index)

    def lowest_dice(self) -> DiceCriterion:
        """What robustness is measured with: ``DiceCriterion("lowest")`` of the same classes and labels."""
        return DiceCriterion("lowest", self.include_background, self.sigmoid, self.ignore_index)

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The mean score over the classes present in the label: float ``[B]`` in [0, 1]; NaN where none is present.

        Raises:
            ValueError: when the shapes do not fit.
            SampleError: if a label holds other values than these.
        """
        return self.scores_by_class(logits, label).nanmean(dim=1)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        """Whether scores, ``[B]``, reach the threshold: bool ``[B]``.

        Raises:
            ValueError: when the threshold is "baseline" and has not been found.
        """
        if self.relative is not None:
            return (score > 0) if self._limits is None else (score > 0) & (score >= self._limits)
        if self.awaits_baseline or self.threshold is None:
            raise ValueError(
                'The threshold "baseline" has not been found yet, expected the handler '
                "monai_ima.handlers.BaselineThreshold with this criterion, or a number."
            )
        return score >= self.threshold

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Soft Dice plus cross-entropy of each sample by itself (:class:`SegmentationLoss`): float ``[B]``."""
        return self.attack_loss(logits, label)

    def relative_to(self, clean_score: torch.Tensor) -> SegmentationCriterion:
        if self.relative is None:
            return self
        return self._with_limits(self.relative * clean_score)

    def select(self, index: torch.Tensor) -> SegmentationCriterion:
        return self if self._limits is None else self._with_limits(self._limits[index])

    def describe(self) -> str:
        """The threshold in words."""
        return f"{self.relative:g} of the own clean score" if self.relative else f"{self.threshold or math.nan:.3g}"

    def state_dict(self) -> dict[str, Any]:
        """The threshold, for a checkpoint: a resumed run must not look for a baseline again."""
        return {"threshold": self.threshold}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved threshold where this one is to be found (``"baseline"``); one that is given stays."""
        if self.asked == "baseline":
            self.threshold = state["threshold"]

    def _with_limits(self, limits: torch.Tensor) -> SegmentationCriterion:
        bound = copy.copy(self)
        bound._limits = limits
        return bound


class DiceCriterion(SegmentationCriterion):
    """Correct when the mean Dice over the classes present in the label is at least τ.

    Arguments, shapes and errors as for :class:`SegmentationCriterion`. The score equals MONAI's ``compute_dice``, which
    waits for the device at every class of every sample.

    Example:
        >>> label = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        >>> logits = torch.tensor([1.0, -1.0, -1.0, -1.0]).view(1, 1, 2, 2)
        >>> criterion = DiceCriterion(0.8)
        >>> two = torch.cat([-logits, logits], dim=1)
        >>> criterion.score(two, label), criterion(two, label)
        (tensor([0.6667]), tensor([False]))
    """

    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        first = 0 if self.include_background else 1
        prediction, label = prediction[:, first:].flatten(2), label[:, first:].flatten(2)
        present = label.sum(dim=2)
        dice = 2 * (prediction * label).sum(dim=2) / (present + prediction.sum(dim=2))
        return dice.masked_fill(present == 0, math.nan)


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
        ignore_index: see :class:`SegmentationCriterion`; both surfaces end where it begins.

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
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(threshold, include_background, sigmoid, ignore_index)
        self.tolerance = check_not_negative("tolerance", tolerance)
        self.spacing = spacing

    def class_scores(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        first = 0 if self.include_background else 1
        prediction, label = prediction[:, first:], label[:, first:]
        tolerances = [self.tolerance] * label.shape[1]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the (ground truth|prediction) of class")
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
            scores = compute_surface_dice(prediction, label, tolerances, include_background=True, spacing=self.spacing)
        present = label.flatten(2).any(dim=2)
        return torch.where(present, scores.nan_to_num(0.0), torch.nan)


def _parse(threshold: float | str) -> tuple[float | None, float | None]:
    """The absolute and the relative threshold; None where there is none (yet)."""
    if threshold == "baseline":
        return None, None
    if threshold == "lowest":
        return LEAST, None
    relative = re.fullmatch(r"relative:(.*)", threshold) if isinstance(threshold, str) else None
    try:
        value = float(relative[1] if relative else threshold)
    except (ValueError, TypeError):
        value = math.nan
    if isinstance(threshold, bool) or not 0 < value <= 1:
        raise ValueError(
            f"Got threshold {threshold!r}, expected a number in (0, 1], 'baseline', 'lowest', or 'relative:q' with q "
            "in (0, 1]."
        )
    return (None, value) if relative else (value, None)
