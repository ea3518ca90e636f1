from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from monai_ima.utils.checks import check_instance
from monai_ima.utils.ignored_labels import has_label
from monai_ima.utils.tensors import check_tensor

__all__ = ["AlwaysCorrect", "Criterion", "check_criterion"]


class Criterion(ABC):
    """Says for every sample of a batch whether its prediction is correct.

    The decision boundary that IMA looks for is the surface in input space where the criterion changes its mind. A
    criterion also names the smooth loss whose ascent leads across that surface, which is what attacks maximise
    when they are given no loss of their own.

    Example:
        >>> class Confident(Criterion):
        ...     def score(self, logits, label):
        ...         return logits.softmax(dim=1).gather(1, label.unsqueeze(1)).squeeze(1)
        ...
        ...     def decide(self, score):
        ...         return score > 0.9
        ...
        ...     def loss(self, logits, label):
        ...         return torch.nn.functional.cross_entropy(logits, label, reduction="none")
        >>> Confident()(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0]))
        tensor([ True, False])

    Attributes:
        ignore_index: the label that counts nowhere; None: there is none.
    """

    ignore_index: int | None = None

    @abstractmethod
    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Score of each prediction: float ``[B]``, larger is better; NaN where the label does not define one."""

    @abstractmethod
    def decide(self, score: torch.Tensor) -> torch.Tensor:
        """Whether predictions of these scores, ``[B]``, are correct: bool ``[B]``."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss that an attack maximises: float ``[B]``, differentiable, each value independent of other samples."""

    def __call__(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Whether each prediction is correct: bool ``[B]``.

        Raises:
            TypeError: when logits or label are no tensor.
        """
        check_tensor("logits", logits)
        check_tensor("label", label)
        return self.decide(self.score(logits, label))

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
        """Which parts of a label count: bool, one row per sample; None: all."""
        return None

    def labelled(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The samples of which some label counts, bool ``[B]``: no other is attacked."""
        counted = self.counted(logits, label)
        if counted is None:
            return torch.ones(len(label), dtype=torch.bool, device=label.device)
        return has_label(counted)

    def relative_to(self, clean_score: torch.Tensor) -> Criterion:
        """The criterion for samples whose clean predictions have these scores, ``[B]``."""
        return self

    def select(self, index: torch.Tensor) -> Criterion:
        """The criterion for the samples at ``index`` only."""
        return self


def check_criterion(criterion: Criterion) -> Criterion:
    """``criterion``, when it is one.

    Raises:
        TypeError: when it is another object, or a class of criteria.
    """
    return check_instance("criterion", criterion, Criterion, "a criterion such as ClassificationCriterion()")


class AlwaysCorrect(Criterion):
    """Another criterion's score and loss without its decision, for attacks that only maximise.

    Args:
        criterion: whose score and loss count; its threshold need not be known yet.

    Example:
        >>> from monai_ima.criteria import ClassificationCriterion
        >>> AlwaysCorrect(ClassificationCriterion())(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
        tensor([True])
    """

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = check_criterion(criterion)
        self.ignore_index = criterion.ignore_index

    def score(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.criterion.score(logits, label)

    def decide(self, score: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(score, dtype=torch.bool)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.criterion.loss(logits, label)

    def counted(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor | None:
        return self.criterion.counted(logits, label)

    def select(self, index: torch.Tensor) -> Criterion:
        return AlwaysCorrect(self.criterion.select(index))
