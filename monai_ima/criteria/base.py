from __future__ import annotations

from abc import ABC, abstractmethod

import torch

__all__ = ["Criterion"]


class Criterion(ABC):
    """Says for every sample of a batch whether its prediction is right.

    The decision boundary that IMA looks for is the surface in input space where the criterion changes its mind. A
    criterion also names the smooth loss whose ascent leads across that surface, which is what attacks climb when
    they are given no loss of their own.
    """

    @abstractmethod
    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """How right each prediction is: float ``[B]``, larger is better; NaN where the label cannot tell."""

    @abstractmethod
    def decide(self, score: torch.Tensor) -> torch.Tensor:
        """Whether predictions of these scores, ``[B]``, are right: bool ``[B]``."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss an attack climbs: float ``[B]``, differentiable, each sample's value free of the others'."""

    def __call__(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Whether each prediction is right: bool ``[B]``."""
        return self.decide(self.score(logits, label))

    def relative_to(self, clean_score: torch.Tensor) -> Criterion:
        """The criterion for samples whose predictions without noise have these scores, ``[B]``."""
        return self

    def select(self, index: torch.Tensor) -> Criterion:
        """The criterion for the samples at ``index`` only."""
        return self
