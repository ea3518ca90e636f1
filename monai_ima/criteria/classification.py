from __future__ import annotations

import math

import torch

from monai_ima.losses.soft_logit_margin import soft_logit_margin
from monai_ima.utils.checks import check_fraction
from monai_ima.utils.errors import SampleError
from monai_ima.utils.tensors import at_least_float32

from .base import Criterion

__all__ = ["BinaryCriterion", "ClassificationCriterion"]


class ClassificationCriterion(Criterion):
    """One class out of K: correct when the logit of the label's class is strictly the largest.

    Logits are ``[B, K]`` with K >= 2; labels are class indices, ``[B]`` or ``[B, 1]``, in ``0 .. K-1``.

    Example:
        >>> criterion = ClassificationCriterion()
        >>> logits, label = torch.tensor([[2.0, 0.5, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
        >>> criterion(logits, label), criterion.score(logits, label)
        (tensor([ True, False]), tensor([ 1.5000, -2.0000]))
    """

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The logit margin ``z_y - max_{j != y} z_j``: float ``[B]``, positive when correct.

        Raises:
            ValueError: when the shapes do not fit or a label is outside the classes.
        """
        index = self._class_index(logits, label).unsqueeze(1)
        others = logits.scatter(1, index, -math.inf)
        return logits.gather(1, index).squeeze(1) - others.amax(dim=1)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return score > 0

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The attack objective, :func:`soft_logit_margin`: float ``[B]``."""
        return soft_logit_margin(logits, self._class_index(logits, label))

    @staticmethod
    def _class_index(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(
                f"ClassificationCriterion got logits of shape {tuple(logits.shape)}, expected [B, K] with K >= 2 "
                "(BinaryCriterion takes a single logit)."
            )
        batch, classes = logits.shape
        if label.shape not in ((batch,), (batch, 1)):
            raise ValueError(
                f"ClassificationCriterion got labels of shape {tuple(label.shape)} for {batch} samples, "
                "expected class indices of shape [B] or [B, 1]."
            )
        if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
            raise ValueError(f"ClassificationCriterion got labels of type {label.dtype}, expected integer indices.")
        index = label.reshape(batch).long()
        outside = (index < 0) | (index >= classes)
        if outside.any():
            sample = int(outside.nonzero()[0])
            raise SampleError(sample, f"has label {int(index[sample])}, expected a class in 0..{classes - 1}.")
        return index


class BinaryCriterion(Criterion):
    """Sigmoid outputs: a single logit, or K independent labels; correct when every output is on its label's side.

    Logits are ``[B]``, ``[B, 1]`` or ``[B, K]``, spatial axes of length 1 behind them allowed; labels hold as many
    values per sample, each 0 or 1.

    Args:
        threshold: probability from which an output counts as positive, in (0, 1).

    Raises:
        ValueError: when ``threshold`` is outside (0, 1).

    Example:
        >>> BinaryCriterion(threshold=0.5)(torch.tensor([2.0, 1.0]), torch.tensor([1, 0]))
        tensor([ True, False])
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = check_fraction("threshold", threshold, "()")
        self._logit_threshold = math.log(threshold / (1 - threshold))

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The smallest signed distance of a sample's logits from the threshold's: float ``[B]``, positive when correct.

        Raises:
            ValueError: when the shapes do not fit or a label is neither 0 nor 1.
        """
        flat, target = self._flatten(logits, label)
        return ((2 * target - 1) * (flat - self._logit_threshold)).amin(dim=1)

    def positive(self, logits: torch.Tensor) -> torch.Tensor:
        """Which outputs count as positive: bool ``[B, K]``."""
        return logits.reshape(len(logits), -1) > self._logit_threshold

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return score > 0

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The attack objective: minus :meth:`score`, the signed logit of the weakest label: float ``[B]``."""
        return -self.score(logits, label)

    @staticmethod
    def _flatten(logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, label = (x.flatten(1) if x.ndim > 2 and x.shape[2:].numel() == 1 else x for x in (logits, label))
        if logits.ndim not in (1, 2) or label.ndim not in (1, 2) or logits.numel() != label.numel():
            raise ValueError(
                f"BinaryCriterion got logits of shape {tuple(logits.shape)} and labels of shape "
                f"{tuple(label.shape)}, expected both [B], [B, 1] or [B, K]."
            )
        batch = logits.shape[0]
        if label.shape[0] != batch:
            raise ValueError(f"BinaryCriterion got {label.shape[0]} labels for {batch} samples, expected one each.")
        flat, target = at_least_float32(logits.reshape(batch, -1)), label.reshape(batch, -1)
        bad = ((target != 0) & (target != 1)).any(dim=1)
        if bad.any():
            sample = int(bad.nonzero()[0])
            raise SampleError(sample, f"has label {target[sample].tolist()}, expected 0 or 1.")
        return flat, target.to(flat.dtype)
