from __future__ import annotations

import torch
import torch.nn.functional as F

from monai_ima.utils.label_maps import first_head
from monai_ima.utils.tensors import at_least_float32

__all__ = ["divergence"]


def divergence(
    reference: torch.Tensor, logits: torch.Tensor, label: torch.Tensor, sigmoid: bool = False
) -> torch.Tensor:
    """Kullback-Leibler divergence ``KL(p ‖ q)`` of each sample, in nats: float ``[B]``, differentiable in both.

    Args:
        reference: logits of p, ``[B]``, ``[B, K]`` or ``[B, K, *spatial]``; of stacked deep-supervision heads the first
            counts.
        logits: logits of q, of the same shape.
        label: the batch's labels; tells stacked heads of maps apart.
        sigmoid: the K outputs are independent (their divergences add up); always so when K is 1.

    Returns:
        for maps the mean over the voxels.

    Raises:
        ValueError: when the shapes differ.
    """
    if reference.shape != logits.shape or logits.ndim < 1:
        raise ValueError(
            f"Got logits of shapes {tuple(reference.shape)} and {tuple(logits.shape)} to compare, expected the same "
            "shape [B, K, ...] for both."
        )
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
    return per_class.sum(dim=1).flatten(1).mean(dim=1) if q.ndim > 2 else per_class.sum(dim=1)
