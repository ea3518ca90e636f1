from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from monai_ima.utils.checks import check_count
from monai_ima.utils.tensors import first_output

__all__ = ["AveragedInferer"]


class AveragedInferer(Inferer):
    """Expectation over transformation (Athalye et al. 2018): the mean logits of several passes.

    A network with random parts (random resizing, added noise, dropout that stays on) gives another answer at every
    pass, and an attack that follows the gradient of one pass is misled. Under this inferer both the attack and the
    decision see the mean of ``passes`` passes.

    Args:
        inferer: of each pass.
        passes: >= 1.

    Raises:
        ValueError: if ``passes`` < 1.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
        >>> AveragedInferer(SimpleInferer(), passes=1000)(torch.ones(1, 1, 2), network).round(decimals=1)
        tensor([[1., 1.]])
    """

    def __init__(self, inferer: Callable[..., Any], passes: int) -> None:
        super().__init__()
        self.inferer = inferer
        self.passes = check_count("passes", passes, 1)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Mean logits, ``[B, K, ...]``; of several outputs the first counts."""
        passes = [first_output(self.inferer(inputs, network, *args, **kwargs)) for _ in range(self.passes)]
        return torch.stack(passes).mean(dim=0)
