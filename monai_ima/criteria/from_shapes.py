"""What is correct, told from the shapes of a prediction and its label."""

from __future__ import annotations

import torch

from .base import Criterion
from .classification import BinaryCriterion, ClassificationCriterion
from .segmentation import DiceCriterion

__all__ = ["criterion_of_shapes"]


def criterion_of_shapes(logits: torch.Tensor, label: torch.Tensor) -> Criterion:
    """The criterion that goes with a batch's prediction and label.

    - one output a sample, ``[B]`` or ``[B, 1]``: :class:`BinaryCriterion`;
    - ``[B, K]`` with a label of the same shape that is no one-hot of classes: :class:`BinaryCriterion` (multi-label);
    - ``[B, K]`` with classes, ``[B]``, ``[B, 1]`` or one-hot: :class:`ClassificationCriterion`;
    - maps ``[B, 1, *spatial]``, or ``[B, K, *spatial]`` with a label of the same shape that is no one-hot of classes:
      :class:`DiceCriterion` of independent (sigmoid) outputs;
    - ``[B, K, *spatial]`` with classes, ``[B, *spatial]``, ``[B, 1, *spatial]`` or one-hot: :class:`DiceCriterion` of
      exclusive (softmax) ones.

    Args:
        logits: the prediction.
        label: of the same samples.

    Raises:
        ValueError: if the two do not go together in any of these ways.

    Example:
        >>> criterion_of_shapes(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)).sigmoid
        False
        >>> type(criterion_of_shapes(torch.zeros(2, 3), torch.tensor([0, 2]))).__name__
        'ClassificationCriterion'
    """
    if logits.ndim < 1 or label.ndim < 1 or len(logits) != len(label):
        raise _apart(logits, label)
    outputs = logits.shape[1] if logits.ndim > 1 else 1
    spatial = logits.shape[2:]
    like_logits = label.shape == logits.shape or (outputs == 1 and label.shape == (len(label), *spatial))
    like_classes = label.shape in ((len(label), *spatial), (len(label), 1, *spatial))
    if not like_logits and not like_classes:
        raise _apart(logits, label)
    independent = outputs == 1 or (like_logits and not _one_hot(label))
    if spatial:
        return DiceCriterion("lowest", include_background=independent, sigmoid=independent)
    return BinaryCriterion() if independent else ClassificationCriterion()


def _one_hot(label: torch.Tensor) -> bool:
    """Every sample, or voxel, has exactly one of several classes."""
    values = label.double()
    return bool(((values == 0) | (values == 1)).all() and (values.sum(dim=1) == 1).all())


def _apart(logits: torch.Tensor, label: torch.Tensor) -> ValueError:
    return ValueError(
        f"Got predictions of shape {tuple(logits.shape)} and labels of shape {tuple(label.shape)}, expected labels "
        "[B], [B, 1] or [B, K] for predictions [B, K], or labels [B, *spatial], [B, 1, *spatial] or [B, K, *spatial] "
        "for predictions [B, K, *spatial], or else criterion=."
    )
