from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["Criterion", "NeverWrong", "SampleError", "at_least_float32", "first_output"]


class SampleError(ValueError):
    """Something is wrong with one sample of a batch.

    Args:
        sample: its position in the batch.
        problem: the rest of the sentence: what it has and what was expected.
    """

    def __init__(self, sample: int, problem: str) -> None:
        super().__init__(f"Sample {sample} of the batch {problem}")
        self.sample = sample
        self.problem = problem

    def named(self, sample_ids: Sequence[str]) -> ValueError:
        """The same error, with the sample's id in place of its position."""
        return ValueError(f"Sample {sample_ids[self.sample]!r} {self.problem}")


def first_output(output: Any) -> torch.Tensor:
    """The tensor that counts when a network returns several.

    Args:
        output: a tensor, or a tuple, list or dictionary whose first value is the main (highest-resolution) output,
            nested or not.

    Returns:
        the first tensor.

    Raises:
        TypeError: when there is no tensor in first place.
    """
    while not isinstance(output, torch.Tensor):
        if isinstance(output, Mapping) and output:
            output = next(iter(output.values()))
        elif isinstance(output, Sequence) and not isinstance(output, str) and output:
            output = output[0]
        else:
            raise TypeError(
                f"The network returned {type(output).__name__}, expected a tensor or a tuple, list or dictionary "
                "whose first value is the tensor of logits."
            )
    return output


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


class NeverWrong(Criterion):
    """Another criterion's score and loss, but no prediction counts as wrong: an attack then goes its whole way.

    Args:
        criterion: whose score and loss count.
    """

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.criterion.score(logits, label)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(score, dtype=torch.bool)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.criterion.loss(logits, label)

    def select(self, index: torch.Tensor) -> Criterion:
        return NeverWrong(self.criterion.select(index))


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """``logits`` in float32 when they are of half precision."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
