from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_ima.utils.class_labels import class_indices
from monai_ima.utils.ignored_labels import counted_entries, counted_mean, counted_voxels
from monai_ima.utils.label_maps import first_head
from monai_ima.utils.tensors import at_least_float32, check_tensor

__all__ = ["counted_outputs", "divergence"]


def divergence(
    reference: torch.Tensor,
    logits: torch.Tensor,
    label: torch.Tensor,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> torch.Tensor:
    """Kullback-Leibler divergence ``KL(p ‖ q)`` of each sample, in nats: float ``[B]``, differentiable in both.

    Args:
        reference: logits of p, ``[B]``, ``[B, K]`` or ``[B, K, *spatial]``; of stacked deep-supervision heads the first
            counts.
        logits: logits of q, of the same shape.
        label: the batch's labels; tells stacked heads of maps apart, and what is ignored.
        sigmoid: the K outputs are independent (their divergences add up); always so when K is 1.
        ignore_index: outputs, voxels or samples of this label count nowhere, nor do outputs whose label is NaN; None:
            the latter only.

    Returns:
        for maps the mean over the voxels; 0 for a sample of which nothing counts.

    Raises:
        TypeError: when an argument is no tensor.
        ValueError: when the shapes differ.
    """
    for name, value in (("reference", reference), ("logits", logits), ("label", label)):
        check_tensor(name, value)
    if reference.shape != logits.shape or logits.ndim < 1:
        raise ValueError(
            f"Got logits of shapes {tuple(reference.shape)} and {tuple(logits.shape)} to compare, expected the same "
            "shape [B, K, ...] for both."
        )
    counted = counted_outputs(logits, label, sigmoid, ignore_index)
    if logits.ndim == 1:
        reference, logits = reference.unsqueeze(1), logits.unsqueeze(1)
    if logits.ndim > 2:
        reference, logits = first_head(reference, label), first_head(logits, label)
    p, q = at_least_float32(reference), at_least_float32(logits)
    if sigmoid or q.shape[1] == 1:
        per_class = F.kl_div(F.logsigmoid(q), F.logsigmoid(p), reduction="none", log_target=True) + F.kl_div(
            F.logsigmoid(-q), F.logsigmoid(-p), reduction="none", log_target=True
        )
    else:
        per_class = F.kl_div(q.log_softmax(dim=1), p.log_softmax(dim=1), reduction="none", log_target=True)
    if counted is not None:
        per_class = per_class.masked_fill(~counted, 0)
    if q.ndim == 2:
        return per_class.sum(dim=1)
    return counted_mean(
        per_class.sum(dim=1, keepdim=True), None if counted is None else counted.any(dim=1, keepdim=True)
    )


def counted_outputs(
    logits: torch.Tensor, label: torch.Tensor, sigmoid: bool, ignore_index: int | None
) -> torch.Tensor | None:
    """The outputs that count, bool, to be broadcast to ``[B, K, ...]``; None: all. Arguments of :func:`divergence`."""
    if logits.ndim > 2:
        if ignore_index is None:
            return None
        return counted_voxels(label, first_head(logits, label), sigmoid, ignore_index)
    if ignore_index is None and not label.is_floating_point():
        return None
    if ignore_index is not None and not sigmoid:
        return class_indices(label, logits.shape[1], ignore_index)[1].unsqueeze(1)
    return counted_entries(label.reshape(len(label), -1), ignore_index)
