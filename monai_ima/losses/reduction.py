"""Does a loss add the samples of a batch up, or average them?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from monai_ima.utils.generators import kept_random_states
from monai_ima.utils.tensors import select_rows

__all__ = ["Reduction", "find_reduction", "named_sum"]


@dataclass(frozen=True)
class Reduction:
    """What a loss makes of the losses of its samples.

    Attributes:
        sums: it adds them up; else it averages them.
        exact: False where it does neither, as Dice over a whole batch, and ``sums`` says what it is nearer to.
    """

    sums: bool
    exact: bool = True

    def describe(self) -> str:
        """The reduction in a sentence."""
        kind = "sum" if self.sums else "mean"
        if self.exact:
            return f"The loss is the {kind} of its samples' losses."
        return f"The loss is neither the sum nor the mean of its samples' losses, and taken as their {kind}."


def find_reduction(
    loss_function: Callable[[Any, Any], torch.Tensor], prediction: Any, label: Any, size: int
) -> Reduction | None:
    """Tell by trial what a loss does: on a batch and on both of its halves, without gradients.

    Args:
        loss_function: ``(prediction, label) -> tensor``, of which the mean counts; called three times.
        prediction: of a batch: tensors of one row per sample, also in tuples, lists and dictionaries.
        label: likewise.
        size: of the batch.

    Returns:
        None where this batch cannot tell: of one sample, or with losses that are 0, not finite, or an error for a half.

    Example:
        >>> z, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
        >>> find_reduction(lambda z, y: 2 * nn.functional.cross_entropy(z, y, reduction="sum"), z, y, 4)
        Reduction(sums=True, exact=True)
    """
    if size < 2:
        return None
    halves = torch.arange(size).split([size // 2, size - size // 2])
    try:
        with torch.no_grad(), kept_random_states():
            value = loss_function(prediction, label).mean()
            parts = [
                float(loss_function(select_rows(prediction, half, size), select_rows(label, half, size)).mean())
                for half in halves
            ]
    except Exception:  # a loss of the user's, that may need more samples or other inputs than these
        return None
    scale = sum(map(abs, parts))
    if not math.isfinite(scale) or scale == 0:
        return None
    mean = sum(part * len(half) for part, half in zip(parts, halves, strict=True)) / size
    from_sum, from_mean = abs(float(value) - sum(parts)), abs(float(value) - mean)
    tolerance = math.sqrt(torch.finfo(value.dtype).eps) * scale
    return Reduction(from_sum < from_mean, min(from_sum, from_mean) <= tolerance)


def named_sum(loss_function: Any) -> bool:
    """A loss says itself that it adds samples up: it, or else the losses it is made of, has ``reduction="sum"``."""
    parts: list[Any] = list(loss_function.children()) if isinstance(loss_function, nn.Module) else []
    found = [vars(part).get("reduction") for part in (*parts, loss_function) if hasattr(part, "__dict__")]
    named = [reduction for reduction in found if reduction is not None]
    return bool(named) and named[0] == "sum"
