"""What of nnU-Net's predictions and targets is judged and attacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from monai_ima.criteria import DiceCriterion

from .precision import unit_gradient

__all__ = ["FULL", "PatchDice", "as_heads", "heads_loss", "judged_label", "patch_criterion"]

FULL = "full"
"""Key of the output, and of the label, of full resolution."""
IGNORED = -1


class PatchDice(DiceCriterion):
    """:class:`DiceCriterion` whose attack objective keeps its gradient in half precision.

    Arguments, shapes and errors as for :class:`DiceCriterion`. The gradient of each sample has its largest value at 1
    on its way into the network (:func:`unit_gradient`): attacks use its direction only, and a mean over a million
    voxels would be 0 in float16.
    """

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return super().loss(unit_gradient(logits), label)


def patch_criterion(label_manager: Any, threshold: float | str) -> PatchDice:
    """Dice at least τ over the classes of a patch; of region-based labels over all regions, with sigmoid outputs.

    Args:
        label_manager: nnU-Net's.
        threshold: τ, as :class:`DiceCriterion` takes it.
    """
    regions, ignored = label_manager.has_regions, label_manager.ignore_label
    return PatchDice(threshold, sigmoid=regions, ignore_index=IGNORED if regions and ignored is not None else ignored)


def judged_label(target: torch.Tensor, label_manager: Any) -> torch.Tensor:
    """A target as :func:`patch_criterion` takes it.

    Args:
        target: of full resolution: class indices ``[B, 1, *spatial]``, or a binary map a region, ``[B, R, *spatial]``,
            behind which nnU-Net puts one of the ignored voxels.
        label_manager: nnU-Net's.
    """
    if not label_manager.has_regions:
        return target
    if label_manager.ignore_label is None:
        return target.short()
    return target[:, :-1].short().masked_fill(target[:, -1:].bool(), IGNORED)


def as_heads(tensors: torch.Tensor | Sequence[torch.Tensor], full: torch.Tensor | None = None) -> dict[str, Any]:
    """Outputs or targets of a batch by name: that of full resolution, and all heads as the trainer's loss takes them.

    Args:
        tensors: one of each head with deep supervision, else one alone.
        full: what stands for that of full resolution; None: the first head.

    Example:
        >>> list(as_heads([torch.zeros(1), torch.ones(1)])), list(as_heads(torch.zeros(1)))
        (['full', '0', '1'], ['full', 'only'])
    """
    if isinstance(tensors, torch.Tensor):
        return {FULL: tensors if full is None else full, "only": tensors}
    heads = {str(k): head for k, head in enumerate(tensors)}
    return {FULL: tensors[0] if full is None else full, **heads}


def heads_loss(loss: Any, prediction: dict[str, Any], label: dict[str, Any]) -> torch.Tensor:
    """The trainer's loss of what :func:`as_heads` named."""
    given = []
    for named in (prediction, label):
        heads = [head for name, head in named.items() if name != FULL]
        given.append(named.get("only", heads))
    return loss(*given)
