from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["PlainStack"]


class PlainStack(nn.Module):
    """Layers one after another, for inputs of one shape.

    Args:
        inputs: what the network classifies, in the plural, for its error message.
        shape: of one input, ``[C, *spatial]``.
        layers: in the order in which they are applied.
    """

    def __init__(self, inputs: str, shape: Sequence[int], *layers: nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.shape = list(shape)
        self.expected = f"[B, {', '.join(map(str, shape))}]"
        self.layers = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, num_classes]`` of inputs ``[B, *shape]``.

        Raises:
            ValueError: if the inputs have another shape.
        """
        if list(image.shape[1:]) != self.shape:
            raise ValueError(f"Got {self.inputs} of shape {list(image.shape)}, expected {self.expected}.")
        return self.layers(image)
