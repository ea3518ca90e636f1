"""What an attack needs to know of a batch, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch

from .predictor import Predictor

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """A batch on the network's device, without metadata.

    Attributes:
        predict: from images to logits, with the inferer and extra inputs of the network.
        image: ``[B, C, *spatial]``.
        label: one row per sample.
        sample_ids: one per sample.
    """

    predict: Predictor
    image: torch.Tensor
    label: torch.Tensor
    sample_ids: list[str]

    def select(self, rows: Sequence[int] | torch.Tensor) -> Self:
        """The samples at these rows only, in rising order: int ``[n]``."""
        if len(rows) == len(self.image):
            return self
        index = torch.as_tensor(rows, device=self.image.device)
        values = {own.name: getattr(self, own.name) for own in fields(self)}
        lists = {
            name: [value[row] for row in index.tolist()] for name, value in values.items() if isinstance(value, list)
        }
        return replace(
            self, predict=self.predict.select(index), image=self.image[index], label=self.label[index], **lists
        )
