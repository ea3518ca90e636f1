from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from monai_ima.criteria import Criterion
from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_count, check_fraction, check_positive

from .base import Attack, AttackResult
from .target import Loss, MostAdversarial, Prediction, Target, select_samples

__all__ = ["DDN"]

LAST_STEP = 0.01


class DDN(Attack):
    """Decoupled direction and norm (Rony et al. 2019, arXiv 1811.09600, Algorithm 1): the nearest wrong point in L2.

    Step k of K, with δ_0 = 0 and ε_0 the smaller of ``init_eps`` and ε, for every sample by itself::

        δ_k = x_{k-1} - x + α_k g / ‖g‖,    g the gradient of the loss at x_{k-1}
        ε_k = (1 - γ) ε_{k-1} if x_{k-1} is wrong, else the smaller of (1 + γ) ε_{k-1} and ε
        x_k = clip(x + ε_k δ_k / ‖δ_k‖)

    α_k falls from ε_0 to 0.01 ε_0 along a half cosine: the paper's 1 to 0.01 for its ε_0 = 1, and the same way in any
    other unit of intensity. Where a gradient is exactly zero a random direction takes its place.
    K steps end no nearer than (1 - γ)^K ε_0 to the clean image.

    ``eps`` of the call is the largest radius allowed. ``result.image`` is the nearest wrong point found; where there
    is none, the point of the lowest score, and ``success`` is False. A sample that is wrong before any noise is a
    success at distance 0. All others go the whole way.

    Args:
        steps: K, >= 1.
        gamma: γ, by which the radius grows or shrinks in a step, in (0, 1).
        init_eps: the radius of the first step in the units of the image, > 0.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says when a prediction is right; None means :class:`ClassificationCriterion`.
        loss: attack objective, ``(logits, label) -> float [B]``; None means the criterion's own.
        generator: source of the random directions; None means one of the attack's own, seeded with 0.

    Raises:
        ValueError: when an argument is not as above.
    """

    def __init__(
        self,
        steps: int = 100,
        gamma: float = 0.05,
        init_eps: float = 1.0,
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__("l2", bounds, criterion, loss, generator)
        self.steps = check_count("steps", steps, 1)
        self.gamma = check_fraction("gamma", gamma, "()")
        self.init_eps = check_positive("init_eps", init_eps)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        worst = MostAdversarial(target)
        nearest = _Nearest(target)
        rows = (target.clean_correct & (target.eps > 0)).nonzero().squeeze(1)
        if len(rows) > 0:
            left, own = select_samples(target, generator, rows)
            first = radius = left.eps.clamp(max=self.init_eps)
            image = left.image
            for step in range(self.steps):
                prediction, gradient = left.predict_with_gradient(image)
                worst.update(rows, image, prediction)
                nearest.update(rows, image, prediction, self.norm.length(image - left.image))
                pace = LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * step / self.steps)) / 2
                move = self.direction(gradient, left, own).mul_(per_sample(pace * first, image))
                direction = self.norm.steepest(move.add_(image).sub_(left.image))
                radius = torch.where(prediction.correct, (1 + self.gamma) * radius, (1 - self.gamma) * radius)
                radius = torch.minimum(radius, left.eps)
                image = self.move(left, direction.mul_(per_sample(radius, image)))
            prediction = left.predict(image)
            worst.update(rows, image, prediction)
            nearest.update(rows, image, prediction, self.norm.length(image - left.image))
        found = nearest.distance.isfinite()
        return self.result(target, torch.where(per_sample(found, worst.image), nearest.image, worst.image), found)


class _Nearest:
    """The nearest wrong image seen so far of every sample.

    Attributes:
        image: ``[B, C, *spatial]``, the clean images at first.
        distance: float ``[B]``, 0 for samples that are wrong before any noise, infinite where none has been found.
    """

    def __init__(self, target: Target) -> None:
        self.image = target.image.clone()
        self.distance = torch.zeros_like(target.eps).masked_fill_(target.clean_correct, math.inf)

    def update(self, rows: torch.Tensor, image: torch.Tensor, prediction: Prediction, distance: torch.Tensor) -> None:
        """Take in one more image of each of the samples at ``rows``."""
        nearer = ~prediction.correct & (distance < self.distance[rows])
        self.image[rows[nearer]] = image[nearer]
        self.distance[rows[nearer]] = distance[nearer]
