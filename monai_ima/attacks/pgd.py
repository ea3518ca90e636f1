from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch

from monai_ima.criteria import Criterion
from monai_ima.perturbations.base import Perturbation
from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_bool, check_choice, check_count, check_positive, shown
from monai_ima.utils.outputs import Output

from .base import Attack, AttackResult, AttackSettings
from .target import Loss, MostAdversarial, Prediction, Split, Target, select_samples

__all__ = ["FGSM", "IFGSM", "PGD", "Iterate", "PathAttack"]


@dataclass(frozen=True)
class Iterate:
    """The k-th point on the path of the samples that have not crossed before it.

    Attributes:
        index: int ``[A]``, the samples' positions in the batch.
        previous: ``[A, C, *spatial]``, iterate k-1, which was correct; the clean image when k is the start.
        image: ``[A, C, *spatial]``, iterate k.
        prediction: score and decision at iterate k, ``[A]`` each.
        split: which of the A samples are misclassified here and go no further; None where none leaves the path.
    """

    index: torch.Tensor
    previous: torch.Tensor
    image: torch.Tensor
    prediction: Prediction
    split: Split | None = None


SCHEDULES = ("constant", "cosine")
FIRST_STEP, LAST_STEP = 1.5, 0.05
"""Lengths of the steps of the schedule ``"cosine"``, in units of ε."""


class PathAttack(Attack):
    """Projected gradient ascent as a path of iterates; what is kept of it is up to the attack.

    Step k goes in the steepest direction of the norm, is projected to the ball of radius ε around the clean image and
    clipped to the bounds. It is ``α ε / N`` long with the schedule ``"constant"``. With ``"cosine"`` the lengths fall
    along half a cosine from 1.5 ε to 0.05 ε, which reaches as high a loss in fewer steps; a path from the clean image
    first walks out to the surface of the ball, in ⌈N / 3⌉ equal steps, so that a boundary near the image is met there
    (``docs/results/schedule.md``). **A sample leaves the batch as soon as it has crossed**, so the cost is the sum over
    the samples of the steps that each one needs.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: N, number of gradient steps, >= 1.
        restarts: number of paths, >= 1; samples that have crossed take no further one.
        alpha: α, length of a constant step in units of ε / N, > 0; None: 4.
        random_start: begin at a point drawn from the ball (else at the clean image).
        early_stop: a sample leaves with its first misclassified iterate.
        schedule: ``"constant"`` or ``"cosine"``.
        compile: see :class:`Attack`.
        memory_format: see :class:`Attack`.
        autocast: see :class:`Attack`.
        bounds: see :class:`Attack`.
        criterion: see :class:`Attack`.
        loss: see :class:`Attack`.
        generator: see :class:`Attack`.
        channels: see :class:`Attack`.
        output: see :class:`Attack`.
        perturbation: see :class:`Attack`.

    Raises:
        ValueError: if a number is out of its range or a name is unknown, ``early_stop`` is False with ``restarts``
            > 1, or ``alpha`` is given with another schedule.
    """

    def __init__(
        self,
        norm: str = "l2",
        steps: int = 100,
        restarts: int = 2,
        alpha: float | None = None,
        random_start: bool = True,
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
        early_stop: bool = True,
        channels: Sequence[int] | None = None,
        output: Output = None,
        perturbation: Perturbation | None = None,
        schedule: str = "constant",
        compile: bool = False,
        memory_format: str | None = None,
        autocast: str | None = None,
    ) -> None:
        shared = (bounds, criterion, loss, generator, channels, output, perturbation, compile, memory_format, autocast)
        super().__init__(norm, *shared)
        self.schedule = check_choice("schedule", schedule, SCHEDULES)
        self.steps = check_count("steps", steps, 1)
        self.restarts = check_count("restarts", restarts, 1)
        if alpha is not None and schedule != "constant":
            raise ValueError(f"Got alpha {shown(alpha)} and schedule {schedule!r}, expected alpha for 'constant' only.")
        self.alpha = 4.0 if alpha is None else check_positive("alpha", alpha)
        self.random_start = check_bool("random_start", random_start)
        self.early_stop = check_bool("early_stop", early_stop)
        if restarts > 1 and not early_stop:
            raise ValueError(
                f"Got restarts {restarts} with early_stop=False, expected 1: its image is the last iterate."
            )

    @property
    def goes_on_from_clean(self) -> bool:  # type: ignore[override]
        """Not with constant steps: their results stay those of earlier versions, to the last bit."""
        return self.schedule != "constant" and not self.random_start

    def step_length(self, k: int, from_clean: bool) -> float:
        """Length of step k in units of ε, k from 0 to N - 1, of a path that starts at the clean image or not."""
        if self.schedule == "constant":
            return self.alpha / self.steps
        walk = math.ceil(self.steps / 3) if from_clean else 0
        if k < walk:
            return 1 / walk
        fallen = (1 - math.cos(math.pi * (k - walk) / max(1, self.steps - walk - 1))) / 2
        return FIRST_STEP + (LAST_STEP - FIRST_STEP) * fallen

    def path(self, target: Target, generator: Generators, start_radius: torch.Tensor | None) -> Iterator[Iterate]:
        """Line 1 of IMA's Algorithm 3: the iterates k = 0 (start) to N; ``early_stop``: to the first misclassified.

        Args:
            target: the samples.
            generator: source of the random start, and of a direction where a gradient is exactly zero.
            start_radius: float ``[B]``, the path starts at a point drawn from the ball of this radius; None: at the
                clean image.
        """
        index = torch.arange(len(target.image), device=target.image.device)
        previous = target.image
        image = target.image if start_radius is None else self.draw(target, start_radius, generator)
        for k in range(self.steps):
            from_clean = k == 0 and start_radius is None
            prediction = target.at_clean() if from_clean else target.predict_with_gradient(image)
            gradient = prediction.gradient
            split = self._split(prediction)
            yield Iterate(index, previous, image, prediction, split)
            if split is not None and len(split.wrong) > 0:
                stay = split.correct
                if len(stay) == 0:
                    return
                index, image, gradient = index[stay], image[stay], gradient[stay]
                target, generator = select_samples(target, generator, stay, split.correct_rows)
            step = self.direction(gradient, target, generator)
            step.mul_(per_sample(self.step_length(k, start_radius is None) * target.eps, step))
            previous, image = image, self.move(target, step.add_(image).sub_(target.image))
        last = target.predict(image)
        yield Iterate(index, previous, image, last, self._split(last))

    def _split(self, prediction: Prediction) -> Split | None:
        return Split.of(prediction.correct) if self.early_stop else None


class PGD(PathAttack):
    """Projected gradient descent (Madry et al. 2018), the attack that robustness is measured with.

    ``PGD(steps=100, restarts=2)`` is the IMA paper's "100-PGD", run twice. ``result.image`` is the first misclassified
    iterate; of a robust sample, the iterate of the lowest score on all its paths.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: number of gradient steps, >= 1.
        restarts: number of paths, >= 1; only samples not yet broken take a further one.
        alpha: length of a constant step in units of ε / steps, > 0; None: 4.
        random_start: begin at a point drawn uniformly from the ball (else at the clean image).
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says when a prediction is correct; None means :class:`ClassificationCriterion`.
        loss: attack objective, ``(logits, label) -> float [B]``; None means the criterion's own (of
            classifiers the soft logit margin).
        generator: source of the random starts; None means one of the attack's own, seeded with 0.
        early_stop: False, with ``restarts=1``, for adversarial training as by Madry et al.: every sample, misclassified
            or not, takes all steps and ``result.image`` is the last iterate.
        channels: of the image that noise may change; None means all.
        output: see :class:`Attack`.
        perturbation: see :class:`Attack`.
        schedule: ``"constant"`` or ``"cosine"``: how step lengths fall (:class:`PathAttack`).
        compile: see :class:`Attack`.
        memory_format: see :class:`Attack`.
        autocast: see :class:`Attack`.

    Raises:
        ValueError: if a number is out of its range, ``early_stop`` is False with ``restarts`` > 1, or ``alpha`` is
            given with another schedule than ``"constant"``.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = PGD("linf", steps=10)(network, image, label, eps=0.1)
        >>> bool((result.distance <= 0.1 + 1e-6).all())
        True
    """

    def run(self, target: Target, generator: Generators) -> AttackResult:
        if not self.early_stop:
            return self._last_iterate(target, generator)
        worst = MostAdversarial(target)
        for rows, active, generators in worst.rounds(self.restarts, generator):
            for iterate in self.path(active, generators, active.eps if self.random_start else None):
                worst.update(rows[iterate.index], iterate.image, iterate.prediction)
        return self.result(target, worst.image, worst.broken)

    def _last_iterate(self, target: Target, generator: Generators) -> AttackResult:
        broken = ~target.clean_correct
        image = target.image
        for iterate in self.path(target, generator, target.eps if self.random_start else None):
            broken, image = broken | ~iterate.prediction.correct, iterate.image
        return self.result(target, image, broken)


class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of length ε from the clean image.

    With ``norm="l2"`` the step goes along the gradient. Arguments as for :class:`PGD`.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = FGSM()(network, image, label, eps=0.1)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(self, norm: str = "linf", **settings: Unpack[AttackSettings]) -> None:
        super().__init__(norm, steps=1, restarts=1, alpha=1.0, random_start=False, **settings)


class IFGSM(PGD):
    """Iterative FGSM (Kurakin et al. 2017): ``steps`` steps of length ε / steps from the clean image.

    Arguments as for :class:`PGD`.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = IFGSM(steps=5)(network, image, label, eps=0.1)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(self, norm: str = "linf", steps: int = 10, **settings: Unpack[AttackSettings]) -> None:
        super().__init__(norm, steps=steps, restarts=1, alpha=1.0, random_start=False, **settings)
