from __future__ import annotations

import torch

from monai_ima.losses.divergence import counted_outputs, divergence

from .base import Criterion

__all__ = ["DivergenceCriterion"]


class DivergenceCriterion(Criterion):
    """How far a prediction has moved from the one for the clean image; every prediction counts as correct.

    Args:
        reference: logits of the clean batch, ``[B, K, ...]``; detached here.
        sigmoid: see :func:`divergence`.
        ignore_index: see :func:`divergence`.

    Example:
        >>> clean, noisy, label = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> criterion = DivergenceCriterion(clean)
        >>> criterion.loss(noisy, label), criterion(noisy, label)
        (tensor([0.4338]), tensor([True]))
    """

    def __init__(self, reference: torch.Tensor, sigmoid: bool = False, ignore_index: int | None = None) -> None:
        self.reference = reference.detach()
        self.sigmoid = sigmoid
        self.ignore_index = ignore_index

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Minus the divergence: float ``[B]``, 0 when nothing has moved."""
        return -self.loss(logits, label)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(score, dtype=torch.bool)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """``KL(clean ‖ noisy)``: float ``[B]``."""
        return divergence(self.reference, logits, label, self.sigmoid, self.ignore_index)

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
        return counted_outputs(logits, label, self.sigmoid, self.ignore_index)

    def select(self, index: torch.Tensor) -> Criterion:
        return DivergenceCriterion(self.reference[index], self.sigmoid, self.ignore_index)
