from __future__ import annotations

import math

import torch

from monai_ima.losses.soft_logit_margin import soft_logit_margin
from monai_ima.utils.checks import check_fraction, check_ignore_index
from monai_ima.utils.class_labels import class_indices
from monai_ima.utils.errors import SampleError
from monai_ima.utils.ignored_labels import counted_entries
from monai_ima.utils.known_labels import labels_are_known
from monai_ima.utils.tensors import at_least_float32

from .base import Criterion

__all__ = ["BinaryCriterion", "ClassificationCriterion"]


class ClassificationCriterion(Criterion):
    """One class out of K: correct when the logit of the label's class is strictly the largest.

    Logits are ``[B, K]`` with K >= 2; labels are class indices in ``0 .. K-1``, ``[B]`` or ``[B, 1]``, of any type if
    they are within 0.01 of an integer, or one-hot, ``[B, K]``. Soft labels, which name no one class, are refused.

    Args:
        ignore_index: samples of this label have no label: their score is NaN, they are never correct and not attacked,
            and their loss is 0; None: every sample has one.

    Raises:
        ValueError: when ``ignore_index`` is no integer.

    Example:
        >>> criterion = ClassificationCriterion()
        >>> logits, label = torch.tensor([[2.0, 0.5, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
        >>> criterion(logits, label), criterion.score(logits, label)
        (tensor([ True, False]), tensor([ 1.5000, -2.0000]))
        >>> ClassificationCriterion(ignore_index=-1).score(logits, torch.tensor([0, -1]))
        tensor([1.5000,    nan])
    """

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = check_ignore_index(ignore_index)

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The logit margin ``z_y - max_{j != y} z_j``: float ``[B]``, positive when correct, NaN without a label.

        Raises:
            ValueError: when the shapes do not fit or a label is outside the classes.
        """
        index, counted = self._class_indices(logits, label)
        others = logits.scatter(1, index.unsqueeze(1), -math.inf)
        margin = logits.gather(1, index.unsqueeze(1)).squeeze(1) - others.amax(dim=1)
        return margin if self.ignore_index is None else margin.masked_fill(~counted, math.nan)

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
        return None if self.ignore_index is None else self._class_indices(logits, label)[1]

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return score > 0

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The attack objective, :func:`soft_logit_margin`: float ``[B]``; 0 without a label."""
        index, counted = self._class_indices(logits, label)
        margin = soft_logit_margin(logits, index)
        return margin if self.ignore_index is None else margin.masked_fill(~counted, 0)

    def _class_indices(self, logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The classes that are right, and which labels count: ``[B]`` each."""
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(
                f"ClassificationCriterion got logits of shape {tuple(logits.shape)}, expected [B, K] with K >= 2 "
                "(BinaryCriterion takes a single logit)."
            )
        batch, classes = logits.shape
        if len(label) != batch:
            raise ValueError(
                f"ClassificationCriterion got labels of shape {tuple(label.shape)} for {batch} samples, expected one "
                "each."
            )
        return class_indices(label, classes, self.ignore_index)


class BinaryCriterion(Criterion):
    """Sigmoid outputs: a single logit, or K independent labels; correct when every output is on its label's side.

    Logits are ``[B]``, ``[B, 1]`` or ``[B, K]``, spatial axes of length 1 behind them allowed; labels hold as many
    values per sample, each 0 or 1. An entry that is NaN or ``ignore_index`` is an unknown label: its output counts
    nowhere. A sample without a known label has score NaN: it is never correct and not attacked, and its loss is 0.

    Args:
        threshold: probability from which an output counts as positive, in (0, 1).
        ignore_index: value of unknown labels, beside NaN; None: NaN only.

    Raises:
        ValueError: when ``threshold`` is outside (0, 1), or ``ignore_index`` is no integer.

    Example:
        >>> BinaryCriterion(threshold=0.5)(torch.tensor([2.0, 1.0]), torch.tensor([1, 0]))
        tensor([ True, False])
        >>> BinaryCriterion(ignore_index=-1).score(torch.tensor([[2.0, 1.0]]), torch.tensor([[1, -1]]))
        tensor([2.])
    """

    def __init__(self, threshold: float = 0.5, ignore_index: int | None = None) -> None:
        self.ignore_index = check_ignore_index(ignore_index)
        self.threshold = check_fraction("threshold", threshold, "()")
        self._logit_threshold = math.log(threshold / (1 - threshold))

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The smallest signed distance of a sample's logits from the threshold's: float ``[B]``, positive when correct.

        Raises:
            ValueError: when the shapes do not fit or a label is neither 0, 1 nor unknown.
        """
        smallest, labelled = self._smallest(logits, label)
        return smallest.masked_fill(~labelled, math.nan)

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return counted_entries(label, self.ignore_index)

    def positive(self, logits: torch.Tensor) -> torch.Tensor:
        """Which outputs count as positive: bool ``[B, K]``."""
        return logits.reshape(len(logits), -1) > self._logit_threshold

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return score > 0

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The attack objective: minus :meth:`score`, the signed logit of the weakest label: float ``[B]``."""
        smallest, labelled = self._smallest(logits, label)
        return (-smallest).masked_fill(~labelled, 0)

    def _smallest(self, logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The smallest signed distance over the known labels, and which samples have any: ``[B]`` each."""
        flat, target, known = self._flatten(logits, label)
        distance = (2 * target - 1) * (flat - self._logit_threshold)
        return distance.masked_fill(~known, math.inf).amin(dim=1), known.any(dim=1)

    def _flatten(self, logits: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, labels (0 where they are unknown) and which labels are known: ``[B, K]`` each."""
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
        known = counted_entries(target, self.ignore_index)
        if not labels_are_known():
            bad = ((target != 0) & (target != 1) & known).any(dim=1)
            if bad.any():
                sample = int(bad.nonzero()[0])
                raise SampleError(sample, f"has label {target[sample].tolist()}, expected 0 or 1.")
        return flat, target.to(flat.dtype).masked_fill(~known, 0), known
