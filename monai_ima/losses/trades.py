from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from monai_ima.utils.checks import check_bool, check_callable, check_ignore_index, check_not_negative, check_output
from monai_ima.utils.ignored_labels import has_label
from monai_ima.utils.outputs import Output, choose_label, choose_output
from monai_ima.utils.tensors import row_count

from .divergence import counted_outputs, divergence
from .reduction import find_reduction, named_sum

__all__ = ["TRADESLoss"]


class TRADESLoss(nn.Module):
    """The loss of TRADES, Zhang et al. 2019 (arXiv 1901.08573), eq. (5): ``L(f(x), y) + KL(f(x) ‖ f(x')) / λ``.

    The second term, averaged over the batch (of maps: over the voxels too), is weighted with ``β = 1/λ``. Its gradient
    flows through both predictions. Beside a loss that adds samples up the divergences are added up, too; that is found
    out on the first batch (:func:`find_reduction`).

    Args:
        loss_function: L, ``(pred, label) -> tensor``, as a MONAI trainer takes it; of a tensor the mean counts.
        beta: β = 1/λ, >= 0; at 0 the loss is plain training's.
        sigmoid: the outputs are independent of each other (multi-label); always so for a single output.
        ignore_index: what has this label is left out of the second term (:func:`divergence`), as L leaves it out of
            the first one.
        output: index or key of the output that enters the divergence, where there are several; None: the first.
        sums: see :class:`IMALoss`.

    Raises:
        ValueError: if ``beta`` < 0, or ``output`` can name none.

    Example:
        >>> loss = TRADESLoss(torch.nn.CrossEntropyLoss(), beta=6.0)
        >>> pred, label = torch.zeros(1, 2), torch.tensor([0])
        >>> loss(pred, label, noisy_pred=pred), loss.robust(pred, label, torch.tensor([[2.0, 0.0]]))
        (tensor(0.6931), tensor(0.4338))
    """

    def __init__(
        self,
        loss_function: Callable[[Any, torch.Tensor], torch.Tensor],
        beta: float = 6.0,
        sigmoid: bool = False,
        ignore_index: int | None = None,
        output: Output = None,
        sums: bool | None = None,
    ) -> None:
        super().__init__()
        self.loss_function = check_callable("loss_function", loss_function, "a function (pred, label) -> tensor")
        self.beta = check_not_negative("beta", beta)
        self.sigmoid = check_bool("sigmoid", sigmoid)
        self.ignore_index = check_ignore_index(ignore_index)
        self.output = check_output(output)
        self.sums = sums

    def forward(self, pred: Any, label: torch.Tensor, noisy_pred: Any) -> torch.Tensor:
        """The training loss of a batch.

        Args:
            pred: the network's output for the clean batch; L gets all its outputs.
            label: its labels, ``[B, ...]``.
            noisy_pred: the output for the same samples with noise.
        """
        if self.sums is None:
            found = find_reduction(self.loss_function, pred, label, row_count(label))
            self.sums = None if found is None else found.sums
        return self.combine(self.loss_function(pred, label).mean(), self.robust(pred, label, noisy_pred))

    def robust(self, pred: Any, label: torch.Tensor, noisy_pred: Any) -> torch.Tensor:
        """``KL(f(x) ‖ f(x'))``, the mean of the batch's samples that have a label, or the sum; without the weight."""
        clean, noisy = (choose_output(each, self.output) for each in (pred, noisy_pred))
        label = choose_label(label, self.output)
        values = divergence(clean, noisy, label, self.sigmoid, self.ignore_index)
        counted = counted_outputs(clean, label, self.sigmoid, self.ignore_index)
        labelled = values if counted is None else values[has_label(counted)]
        sums = named_sum(self.loss_function) if self.sums is None else self.sums
        return labelled.sum() if sums or not len(labelled) else labelled.mean()

    def combine(self, clean: torch.Tensor, robust: torch.Tensor) -> torch.Tensor:
        """``clean + β robust``."""
        return clean + self.beta * robust
