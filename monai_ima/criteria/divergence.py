from __future__ import annotations

import torch

from monai_ima.losses.divergence import divergence

from .base import Criterion

__all__ = ["DivergenceCriterion"]


class DivergenceCriterion(Criterion):
    """How far a prediction has moved from the one for the clean image; every prediction counts as correct.

    Args:
        reference: logits of the clean batch, ``[B, K, ...]``; detached here.
        sigmoid: see :func:`divergence`.

    Example:
        >>> clean, noisy, label = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> criterion = DivergenceCriterion(clean)
        >>> criterion.loss(noisy, label), criterion(noisy, label)
        (tensor([0.4338]), tensor([True]))
    """

    def __init__(self, reference: torch.Tensor, sigmoid: bool = False) -> None:
        self.reference = reference.detach()
        self.sigmoid = sigmoid

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Minus the divergence: float ``[B]``, 0 when nothing has moved."""
        return -self.loss(logits, label)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(score, dtype=torch.bool)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """``KL(clean ‖ noisy)``: float ``[B]``."""
        return divergence(self.reference, logits, label, self.sigmoid)

    def select(self, index: torch.Tensor) -> Criterion:
        return DivergenceCriterion(self.reference[index], self.sigmoid)
