from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from monai_ima.criteria import Criterion
from monai_ima.perturbations.base import Fitted
from monai_ima.perturbations.norms import Generators, Norm, per_sample
from monai_ima.utils.errors import SampleError
from monai_ima.utils.tensors import first_output

from .health import Health

__all__ = [
    "CleanPass",
    "GradientPrediction",
    "Loss",
    "MostAdversarial",
    "NearestAdversarial",
    "Prediction",
    "Split",
    "Target",
    "select_samples",
]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Prediction:
    """Scores of the network's predictions.

    Attributes:
        score: float ``[B]``, the criterion's.
        correct: bool ``[B]``.
    """

    score: torch.Tensor
    correct: torch.Tensor


@dataclass(frozen=True)
class GradientPrediction(Prediction):
    """A prediction with the attack objective and its gradient with respect to the images.

    Attributes:
        loss: float ``[B]``, the attack's.
        gradient: ``[B, C, *spatial]``, the loss's, with respect to the images.
    """

    loss: torch.Tensor
    gradient: torch.Tensor


@dataclass
class CleanPass:
    """The network's pass over the whole batch that the attack was called with, its graph kept until it is used.

    Attributes:
        image: ``[N, C, *spatial]``, the leaf.
        logits: ``[N, ...]``; None from the first backward pass on.
    """

    image: torch.Tensor
    logits: torch.Tensor | None


@dataclass(frozen=True)
class Target:
    """The samples under attack; every tensor has one row per sample.

    Of a perturbation with parameters θ, "images" are θ: ``network`` takes θ, and the clean ``image`` is θ = 0.

    Attributes:
        network: from images to predictions.
        norm: that distances and radii are measured in.
        bounds: valid intensities to which noisy images are clipped; None for no limit.
        rows: int ``[B]``, the samples' positions in the batch that the attack was called with, for errors to name.
        attack_loss: attack objective, ``(logits, label) -> float [B]``; None means the criterion's own.
        clean_score: float ``[B]``, the criterion's score of the clean prediction.
        clean_correct: bool ``[B]``, the clean prediction is correct.
        health: where what is not finite is noted.
        moving: the perturbation, where it moves voxels; None: labels stay.
        clean_pass: of the clean images; None where it is not kept.
    """

    network: Callable[[torch.Tensor], Any]
    norm: Norm
    bounds: tuple[float, float] | None
    rows: torch.Tensor
    image: torch.Tensor
    label: torch.Tensor
    eps: torch.Tensor
    criterion: Criterion
    attack_loss: Loss | None
    clean_score: torch.Tensor
    clean_correct: torch.Tensor
    health: Health
    moving: Fitted | None = None
    clean_pass: CleanPass | None = None

    def label_at(self, image: torch.Tensor) -> torch.Tensor:
        """The labels that hold for these images: others than the clean ones' where voxels move."""
        return self.label if self.moving is None else self.moving.apply_label(self.label, image)

    def select(self, index: torch.Tensor) -> Target:
        """The same attack on the samples at ``index`` only.

        A network with per-sample inputs of its own has a method ``select(index)``, which is called here.
        """
        network = self.network.select(index) if hasattr(self.network, "select") else self.network
        moving = None if self.moving is None else self.moving.select(index)
        tensors: dict[str, Any] = {name: value[index] for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, network=network, moving=moving, criterion=self.criterion.select(index), **tensors)

    @torch.no_grad()
    def predict(self, image: torch.Tensor) -> Prediction:
        """What the network makes of these images."""
        return self._judge(first_output(self.network(image)), self.label_at(image))

    def predict_with_gradient(self, image: torch.Tensor) -> GradientPrediction:
        """As :meth:`predict`, with the attack's loss and its gradient with respect to the images."""
        image = image.detach().requires_grad_()
        with torch.enable_grad():
            logits = first_output(self.network(image))
            return self._with_gradient(logits, image, None)

    def at_clean(self) -> GradientPrediction:
        """As :meth:`predict_with_gradient` of the clean images, from the pass that is kept where there is one, once."""
        if self.clean_pass is None or self.clean_pass.logits is None:
            return self.predict_with_gradient(self.image)
        logits, self.clean_pass.logits = self.clean_pass.logits, None
        with torch.enable_grad():
            return self._with_gradient(logits[self.rows], self.clean_pass.image, self.rows)

    def _with_gradient(self, logits: torch.Tensor, leaf: torch.Tensor, rows: torch.Tensor | None) -> GradientPrediction:
        image = leaf.detach()
        label = self.label_at(image if rows is None else image[rows])
        loss = self.loss(logits, label)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        gradient = gradient if rows is None else gradient[rows]
        self.health.note(self.rows, gradient=gradient)
        return GradientPrediction(**vars(self._judge(logits.detach(), label)), loss=loss.detach(), gradient=gradient)

    def loss(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The attack's loss, of a checked shape: float ``[B]``."""
        with self._errors_name_the_row():
            loss = (self.criterion.loss if self.attack_loss is None else self.attack_loss)(logits, label)
            if loss.shape != (len(self.image),):
                raise ValueError(
                    f"The attack's loss returned shape {tuple(loss.shape)} for {len(self.image)} samples, expected "
                    "one value per sample (for a torch loss: reduction='none')."
                )
        self.health.note(self.rows, loss=loss.detach())
        return loss

    def _judge(self, logits: torch.Tensor, label: torch.Tensor) -> Prediction:
        self.health.note(self.rows, prediction=logits)
        with self._errors_name_the_row():
            score = self.criterion.score(logits, label)
        if label is not self.label:
            score = torch.where(score.isnan(), self.clean_score, score)
        return Prediction(score, self.criterion.decide(score))

    @contextmanager
    def _errors_name_the_row(self) -> Iterator[None]:
        try:
            yield
        except SampleError as error:
            raise SampleError(int(self.rows[error.sample]), error.problem) from error


class MostAdversarial:
    """The worst image seen so far of every sample: the one of the lowest score.

    Attributes:
        image: ``[B, C, *spatial]``, the clean images at first.
        broken: bool ``[B]``, a misclassified image has been seen.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.image = target.image.clone()
        self.broken = ~target.clean_correct
        self._lowest = target.clean_score.clone()

    def rounds(self, count: int, generator: Generators) -> Iterator[tuple[torch.Tensor, Target, Generators]]:
        """Up to ``count`` times the samples not yet broken: their rows, target and generators."""
        for _ in range(count):
            rows = (~self.broken).nonzero().squeeze(1)
            if len(rows) == 0:
                return
            yield rows, *select_samples(self._target, generator, rows)

    def update(self, rows: torch.Tensor, image: torch.Tensor, prediction: Prediction) -> None:
        """Take in one more image of each of the samples at ``rows``."""
        worse = prediction.score < self._lowest[rows]
        self.image[rows] = torch.where(per_sample(worse, image), image, self.image[rows])
        self._lowest[rows] = torch.where(worse, prediction.score, self._lowest[rows])
        self.broken[rows] |= ~prediction.correct


class NearestAdversarial:
    """The nearest misclassified image seen so far of every sample; until one is known, the one of the lowest score.

    Attributes:
        distance: float ``[B]``, 0 for samples that are misclassified when clean, infinite where none is known.
    """

    def __init__(self, target: Target) -> None:
        self._nearest = target.image.clone()
        self._worst = MostAdversarial(target)
        self.distance = torch.zeros_like(target.eps).masked_fill_(target.clean_correct, math.inf)

    @property
    def known(self) -> torch.Tensor:
        """A misclassified image has been seen: bool ``[B]``."""
        return self.distance.isfinite()

    @property
    def image(self) -> torch.Tensor:
        """``[B, C, *spatial]``."""
        return torch.where(per_sample(self.known, self._nearest), self._nearest, self._worst.image)

    def update(self, rows: torch.Tensor, image: torch.Tensor, prediction: Prediction, distance: torch.Tensor) -> None:
        """Take in one more image of each of the samples at ``rows``, at these distances from the clean one."""
        self._worst.update(rows, image, prediction)
        nearer = ~prediction.correct & (distance < self.distance[rows])
        self._nearest[rows] = torch.where(per_sample(nearer, image), image, self._nearest[rows])
        self.distance[rows] = torch.where(nearer, distance, self.distance[rows])


@dataclass(frozen=True)
class Split:
    """A batch in two, by what is correct.

    Attributes:
        wrong: int, rows of the samples that are misclassified, in rising order.
        correct: int, rows of the others.
        correct_rows: these, where the host can read them without waiting for the device.
    """

    wrong: torch.Tensor
    correct: torch.Tensor
    correct_rows: list[int]

    @classmethod
    def of(cls, correct: torch.Tensor) -> Split:
        """Split bool ``[B]``; the device is waited for once."""
        flags = correct.tolist()
        rows = [row for row, flag in enumerate(flags) if flag]
        order = correct.byte().argsort(stable=True)
        wrong, right = order.split([len(flags) - len(rows), len(rows)])
        return cls(wrong, right, rows)


def select_samples(
    target: Target, generator: Generators, rows: torch.Tensor, known: Sequence[int] | None = None
) -> tuple[Target, Generators]:
    """The target and generators of the samples at ``rows``, untouched when these are all.

    Args:
        target: of all samples.
        generator: of all samples.
        rows: int, which samples, in rising order.
        known: ``rows``, where the host knows them already.
    """
    if len(rows) == len(target.image):
        return target, generator
    if not isinstance(generator, torch.Generator):
        generator = [generator[row] for row in (rows.tolist() if known is None else known)]
    return target.select(rows), generator
