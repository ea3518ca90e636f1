from __future__ import annotations

import math

import torch

from monai_ima.utils.tensors import at_least_float32, check_tensor

__all__ = ["soft_logit_margin"]


def soft_logit_margin(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Soft logit margin loss of Ding et al. 2020 (arXiv 1812.02637): ``L^SLM = log Σ_{j≠y} exp z_j - z_y``.

    What attacks on classifiers maximise. Cross-entropy is ``log(1 + exp L^SLM)``, so both have the same direction of
    steepest ascent; but cross-entropy's gradient carries the factor ``1 - p_y``, which float32 rounds to a few steps
    of size 6e-8, or to 0, once the network is confident (a gap of the logits of about 17), and its parts then no
    longer add up to the direction. This one has no such factor.

    Args:
        logits: ``[B, K]``, K >= 2, of any floating-point type; computed in float32 or better.
        label: class indices, ``[B]`` or ``[B, 1]``.

    Returns:
        float ``[B]``, differentiable; negative only where the prediction is correct. For two classes it is minus the
        logit margin.

    Example::

        PGD("l2")(network, image, label, eps)                          # maximises the soft logit margin
        PGD("l2", loss=lambda z, y: F.cross_entropy(z, y, reduction="none"))(network, image, label, eps)
    """
    z = at_least_float32(check_tensor("logits", logits))
    index = check_tensor("label", label).reshape(-1, 1).long()
    return z.scatter(1, index, -math.inf).logsumexp(dim=1) - z.gather(1, index).squeeze(1)
