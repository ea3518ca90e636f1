from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Unpack

import torch

from monai_ima.criteria import ClassificationCriterion
from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_count, check_fraction, shown
from monai_ima.utils.tensors import at_least_float32

from .base import AttackSettings
from .pgd import PGD, Iterate
from .target import GradientPrediction, Loss, Split, Target, select_samples

__all__ = ["APGD", "checkpoints", "dlr_loss"]

INITIAL_STEP = 2.0
SMALLEST_SPREAD = 1e-12


def dlr_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690): a loss that a confident network cannot flatten.

    ``DLR(x, y) = -(z_y - max_{i≠y} z_i) / (z_π1 - z_π3)``, with π the order of the logits from the largest down. It is
    the same for logits that are shifted or multiplied by a positive number. Computed in float32 or better.

    Args:
        logits: ``[B, K]`` with K >= 3.
        label: class indices, ``[B]`` or ``[B, 1]``.

    Returns:
        float ``[B]``: in [-1, 0] for correct predictions, >= 0 for wrong ones.

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


OBJECTIVES: dict[str, Loss | None] = {"ce": None, "dlr": dlr_loss}


class APGD(PGD):
    """Auto-PGD (Croce & Hein 2020, arXiv 2003.01690, Algorithm 1): gradient ascent that finds its own step size.

    With P the projection to the ball and the bounds, η the sample's step size, first 2 ε, and d the steepest direction
    of the norm at x_k::

        z       = P(x_k + η d)
        x_{k+1} = P(x_k + α (z - x_k) + (1 - α) (x_k - x_{k-1})),    x_1 = z

    At each of the :func:`checkpoints` w_j, η is halved and the trajectory continues from the point of the highest loss
    so far when one of these holds:

    1. the loss rose in fewer than ρ (w_j - w_{j-1}) of the steps since the last checkpoint;
    2. η was not halved at the last checkpoint, and the highest loss has not risen since.

    Every trajectory starts at a point drawn uniformly from the ball. As in :class:`PGD`, ``result.image`` is the first
    misclassified iterate; of a robust sample, the iterate of the lowest score; samples leave once they are broken.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: N, number of gradient steps, >= 1.
        restarts: number of trajectories, >= 1; only samples not yet broken take a further one.
        objective: ``"ce"`` for the criterion's own (of classifiers the soft logit margin, whose direction is
            cross-entropy's), ``"dlr"`` for :func:`dlr_loss` (classification with at least 3 classes), None for
            ``loss``.
        rho: ρ, in (0, 1].
        momentum: α, in (0, 1]; 1 means none.
        settings: see :class:`Attack`; ``loss`` goes with ``objective=None``, and the random starts are drawn from
            ``generator``.

    Raises:
        ValueError: if a number is out of its range, or not exactly one of ``objective`` and ``loss`` is given.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = APGD("linf", steps=10, objective="dlr")(network, image, label, eps=0.1)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(
        self,
        norm: str = "linf",
        steps: int = 100,
        restarts: int = 1,
        objective: str | None = "ce",
        rho: float = 0.75,
        momentum: float = 0.75,
        **settings: Unpack[AttackSettings],
    ) -> None:
        if objective is not None and (not isinstance(objective, str) or objective not in OBJECTIVES):
            raise ValueError(f"Got objective {shown(objective)}, expected 'ce', 'dlr' or None (with a loss).")
        loss = settings.get("loss")
        if (objective is None) != (loss is not None):
            raise ValueError(f"Got objective {objective!r} and loss {loss!r}, expected one of them, the other None.")
        settings["loss"] = loss if objective is None else OBJECTIVES[objective]
        super().__init__(
            norm, steps=steps, restarts=restarts, alpha=INITIAL_STEP * check_count("steps", steps, 1), **settings
        )
        self.objective = objective
        self.rho = check_fraction("rho", rho, "(]")
        self.momentum = check_fraction("momentum", momentum, "(]")

    def path(self, target: Target, generator: Generators, start_radius: torch.Tensor | None) -> Iterator[Iterate]:
        marks = checkpoints(self.steps)
        index = torch.arange(len(target.image), device=target.image.device)
        previous = target.image
        image = target.image if start_radius is None else self.draw(target, start_radius, generator)
        state = _Trajectory.begin(image, self.alpha / self.steps * target.eps)
        last = 0
        for k in range(self.steps):
            prediction = target.predict_with_gradient(image)
            gradient = prediction.gradient
            split = Split.of(prediction.correct)
            yield Iterate(index, previous, image, prediction, split)
            state.record(image, prediction)
            if len(split.wrong) > 0:
                stay = split.correct
                if len(stay) == 0:
                    return
                index, previous, image, gradient = index[stay], previous[stay], image[stay], gradient[stay]
                target, generator = select_samples(target, generator, stay, split.correct_rows)
                state = state.select(stay)
            if k in marks:
                back = per_sample(state.checkpoint(self.rho * (k - last)), image)
                image = torch.where(back, state.best_image, image)
                gradient = torch.where(back, state.best_gradient, gradient)
                last = k
            step = self.direction(gradient, target, generator).mul_(per_sample(state.step, gradient))
            ahead = self.move(target, step.add_(image).sub_(target.image)).sub_(image)
            if k > 0:
                ahead = self.momentum * ahead + (1 - self.momentum) * (image - previous)
            previous, image = image, self.move(target, ahead.add_(image).sub_(target.image))
        end = target.predict(image)
        yield Iterate(index, previous, image, end, Split.of(end.correct))


@dataclass
class _Trajectory:
    """State of the samples' trajectories; every tensor has one row per sample.

    Attributes:
        step: η.
        loss: at the iterate reached last.
        rises: int, steps since the last checkpoint on which the loss rose.
        best_loss: the highest loss so far, met at ``best_image``, where its gradient is ``best_gradient``.
        checked_loss: what ``best_loss`` was at the last checkpoint.
        halved: bool, η was halved at the last checkpoint.
    """

    step: torch.Tensor
    loss: torch.Tensor
    rises: torch.Tensor
    best_loss: torch.Tensor
    best_image: torch.Tensor
    best_gradient: torch.Tensor
    checked_loss: torch.Tensor
    halved: torch.Tensor

    @classmethod
    def begin(cls, image: torch.Tensor, step: torch.Tensor) -> _Trajectory:
        """Trajectories without an iterate."""
        lowest = torch.full_like(step, -math.inf)
        rises = torch.zeros_like(step, dtype=torch.long)
        return cls(step, -lowest, rises, lowest, image, torch.zeros_like(image), lowest, rises > 0)

    def select(self, index: torch.Tensor) -> _Trajectory:
        """The trajectories of the samples at ``index`` only."""
        return _Trajectory(**{name: value[index] for name, value in vars(self).items()})

    def record(self, image: torch.Tensor, found: GradientPrediction) -> None:
        """Take in the next iterate."""
        self.rises = self.rises + (found.loss > self.loss)
        self.loss = found.loss
        better = found.loss > self.best_loss
        at = per_sample(better, image)
        self.best_loss = torch.where(better, found.loss, self.best_loss)
        self.best_image = torch.where(at, image, self.best_image)
        self.best_gradient = torch.where(at, found.gradient, self.best_gradient)

    def checkpoint(self, enough: float) -> torch.Tensor:
        """Halve the step size where the two conditions ask for it; these return to their best image: bool ``[B]``."""
        halve = (self.rises < enough) | (~self.halved & (self.best_loss == self.checked_loss))
        self.step = torch.where(halve, self.step / 2, self.step)
        self.loss = torch.where(halve, self.best_loss, self.loss)
        self.rises = torch.zeros_like(self.rises)
        self.checked_loss, self.halved = self.best_loss, halve
        return halve


def checkpoints(steps: int) -> list[int]:
    """The numbers of steps after which Auto-PGD checks its progress: ``w_j = ⌈p_j steps⌉``, without repetitions.

    ``p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)`` up to 1; counted in per cent, so that
    rounding cannot shift one.
    """
    percents, gap = [0], 22
    while percents[-1] + gap <= 100:
        percents.append(percents[-1] + gap)
        gap = max(gap - 3, 6)
    return sorted({-(-percent * steps // 100) for percent in percents})
