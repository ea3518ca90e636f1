from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from monai_ima.utils.checks import check_bool, check_callable, check_fraction
from monai_ima.utils.tensors import row_count

from .reduction import find_reduction, named_sum

__all__ = ["IMALoss"]


class IMALoss(nn.Module):
    """The loss of Algorithm 1 of Ma & Liang (arXiv 2005.09147): ``(1 - β) (L1 + L2) + β L3``.

    ``L1 + L2`` is the loss on the clean batch, correctly classified (L1) and misclassified (L2) samples together.
    ``L3`` is the same loss on the noisy samples, summed over them and divided by the size of the clean batch, so that a
    batch with few correct samples does not weigh more than another. A loss that adds samples up, by itself or by the
    losses it is made of, is summed in both parts; that is found out on the first batch (:func:`find_reduction`).

    Args:
        loss_function: ``(pred, label) -> tensor``, as a MONAI trainer takes it; of a tensor the mean counts.
        beta: β, weight of the noisy samples, in [0, 1].
        sums: the loss adds samples up, else it averages them; None: find out.

    Raises:
        ValueError: when ``beta`` is outside [0, 1].

    Example:
        >>> loss = IMALoss(torch.nn.CrossEntropyLoss(), beta=0.5)
        >>> pred, label = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
        >>> loss(pred, label, noisy_pred=pred[:2], noisy_label=label[:2])  # (log 2 + log 2 * 2 / 4) / 2
        tensor(0.5199)
    """

    def __init__(
        self, loss_function: Callable[[Any, Any], torch.Tensor], beta: float = 0.5, sums: bool | None = None
    ) -> None:
        super().__init__()
        self.loss_function = check_callable("loss_function", loss_function, "a function (pred, label) -> tensor")
        self.beta = check_fraction("beta", beta)
        self.sums = None if sums is None else check_bool("sums", sums)

    def forward(self, pred: Any, label: Any, noisy_pred: Any | None, noisy_label: Any | None) -> torch.Tensor:
        """The training loss of a batch.

        Args:
            pred: the network's output for the clean batch of B samples.
            label: its labels, ``[B, ...]``, or a dictionary of several.
            noisy_pred: the output for the noisy samples, n <= B of them; None when there are none.
            noisy_label: their labels, ``[n, ...]``.
        """
        clean = self.loss_function(pred, label).mean()
        if self.sums is None:
            found = find_reduction(self.loss_function, pred, label, row_count(label))
            self.sums = None if found is None else found.sums
        if noisy_pred is None or noisy_label is None or row_count(noisy_label) == 0:
            return self.combine(clean, torch.zeros_like(clean))
        return self.combine(clean, self.noisy(noisy_pred, noisy_label, row_count(label)))

    def noisy(self, noisy_pred: Any, noisy_label: Any, batch_size: int) -> torch.Tensor:
        """Line 7 of Algorithm 1: L3 of n >= 1 noisy samples from a batch of ``batch_size``."""
        loss = self.loss_function(noisy_pred, noisy_label).mean()
        sums = named_sum(self.loss_function) if self.sums is None else self.sums
        return loss if sums else loss * row_count(noisy_label) / batch_size

    def combine(self, clean: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Line 8 of Algorithm 1: ``(1 - β) clean + β noisy``."""
        return (1 - self.beta) * clean + self.beta * noisy
