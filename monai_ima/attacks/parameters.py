from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from monai_ima.perturbations.base import Fitted

__all__ = ["ParameterSpace"]


@dataclass(frozen=True)
class ParameterSpace:
    """From parameters θ of a perturbation to predictions for the changed images.

    Attributes:
        predict: from images to predictions.
        fitted: the perturbation, for the clean images.
        bounds: valid intensities, to which the changed images are clipped; None for no limit.

    Example:
        >>> from monai_ima.perturbations import Gain
        >>> space = ParameterSpace(torch.nn.Flatten(), Gain().fit(torch.tensor([[[0.0, 2.0]]])), None)
        >>> space(torch.tensor([[50.0]]))
        tensor([[0., 3.]])
    """

    predict: Callable[[torch.Tensor], Any]
    fitted: Fitted
    bounds: tuple[float, float] | None

    def image(self, theta: torch.Tensor) -> torch.Tensor:
        """The changed images: ``[B, C, *spatial]``."""
        changed = self.fitted.apply(theta)
        return changed if self.bounds is None else changed.clamp(*self.bounds)

    def __call__(self, theta: torch.Tensor) -> Any:
        return self.predict(self.image(theta))

    def select(self, index: torch.Tensor) -> ParameterSpace:
        """For the samples at ``index`` only."""
        predict = self.predict.select(index) if hasattr(self.predict, "select") else self.predict
        return replace(self, predict=predict, fitted=self.fitted.select(index))
