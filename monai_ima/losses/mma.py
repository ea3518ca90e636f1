from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from monai_ima.utils.checks import check_fraction

from .ima import IMALoss

__all__ = ["MMALoss"]


class MMALoss(IMALoss):
    """The loss of MMA training, Ding et al. 2020 (arXiv 1812.02637): ``w L^CE + (1 - w) L^MMA`` ("combined loss").

    ``L^CE`` is the loss on the clean batch. ``L^MMA`` is the same loss at one point for each sample, divided by
    the size of the clean batch: a correctly classified sample whose margin is below d_max at the point on its
    decision boundary, a misclassified one at the sample itself; a sample whose margin has reached d_max is left out
    (hinge).

    Args:
        loss_function: ``(pred, label) -> tensor``, as a MONAI trainer takes it; of a tensor the mean counts.
        clean_weight: w, in [0, 1]; a third in the paper.
        sums: see :class:`IMALoss`.

    Raises:
        ValueError: when ``clean_weight`` is outside [0, 1].

    Example:
        >>> loss = MMALoss(torch.nn.CrossEntropyLoss())
        >>> loss(torch.zeros(1, 2), torch.tensor([0]), noisy_pred=None, noisy_label=None)  # log 2 / 3
        tensor(0.2310)
    """

    def __init__(
        self,
        loss_function: Callable[[Any, Any], torch.Tensor],
        clean_weight: float = 1 / 3,
        sums: bool | None = None,
    ) -> None:
        super().__init__(loss_function, 1 - check_fraction("clean_weight", clean_weight), sums)
