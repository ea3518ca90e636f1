from __future__ import annotations

import torch

from monai_ima.criteria import ClassificationCriterion
from monai_ima.utils.tensors import at_least_float32

__all__ = ["dlr_loss"]

SMALLEST_SPREAD = 1e-12


def dlr_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690): a loss that a confident network cannot flatten.

    ``DLR(x, y) = -(z_y - max_{i≠y} z_i) / (z_π1 - z_π3)``, with π the order of the logits from the largest down. It is
    the same for logits that are shifted or multiplied by a positive number. Computed in float32 or better.

    Args:
        logits: ``[B, K]`` with K >= 3.
        label: class indices, ``[B]`` or ``[B, 1]``.

    Returns:
        float ``[B]``: in [-1, 0] for right predictions, >= 0 for wrong ones.

    Raises:
        ValueError: when the shapes do not fit; with K = 2 the ratio is -1 or 1 everywhere and has no slope.
        SampleError: when a label is not one of the classes.
    """
    if logits.ndim != 2 or logits.shape[1] < 3:
        raise ValueError(
            f"Got logits of shape {tuple(logits.shape)}, expected [B, K] with K >= 3 for the difference of logits "
            "ratio (use 'ce' here)."
        )
    logits = at_least_float32(logits)
    largest = logits.topk(3, dim=1).values
    spread = (largest[:, 0] - largest[:, 2]).clamp_min(SMALLEST_SPREAD)
    return -ClassificationCriterion().score(logits, label) / spread
