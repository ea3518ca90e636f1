from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from monai_ima.criteria import Criterion
from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_count

from .base import Attack, AttackResult
from .ddn import DDN
from .pgd import PGD
from .target import Loss, MostAdversarial, Prediction, Target, select_samples

__all__ = ["MinimumNorm"]

LINE_STEPS = 10


class MinimumNorm(Attack):
    """The smallest perturbation that can be found for each sample: an upper bound of its distance to the boundary.

    In L2 :class:`DDN` looks first. Then PGD is run in the ball as large as the nearest wrong point known (the whole
    ball where there is none), and ``rounds`` times more in the ball half way between that point and the largest radius
    that PGD did not break, by turns from the clean image and from a random point; every wrong point found is drawn back
    towards the clean image by bisection of the line between the two, as long as it is wrong.

    ``eps`` of the call is the largest radius looked at. ``result.image`` is the nearest wrong point found and
    ``result.distance`` its distance; where there is none, ``success`` is False and the image is the one of the lowest
    score. A sample that is wrong before any noise is a success at distance 0.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: of PGD, and of DDN, >= 1.
        rounds: of halving, >= 0.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says when a prediction is right; None means :class:`ClassificationCriterion`.
        loss: attack objective, ``(logits, label) -> float [B]``; None means the criterion's own.
        generator: source of the random starts; None means one of the attack's own, seeded with 0.

    Raises:
        ValueError: when an argument is not as above.
    """

    def __init__(
        self,
        norm: str = "l2",
        steps: int = 100,
        rounds: int = 8,
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(norm, bounds, criterion, loss, generator)
        self.steps = check_count("steps", steps, 1)
        self.rounds = check_count("rounds", rounds, 0)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        nearest = _Nearest(self, target)
        rows = (target.clean_correct & (target.eps > 0)).nonzero().squeeze(1)
        if len(rows) > 0:
            self._search(nearest, rows, *select_samples(target, generator, rows))
        return self.result(target, nearest.image(), nearest.distance.isfinite())

    def _search(self, nearest: _Nearest, rows: torch.Tensor, target: Target, generator: Generators) -> None:
        if self.norm.name == "l2":
            first = float(target.eps.max()) / 2
            nearest.update(rows, DDN(self.steps, init_eps=first, bounds=self.bounds).run(target, generator).image)
        paths = [PGD(self.norm.name, self.steps, 1, random_start=k > 0, bounds=self.bounds) for k in range(2)]
        safe = torch.zeros_like(target.eps)
        radius = torch.minimum(nearest.distance[rows], target.eps)
        for k in range(self.rounds + 1):
            found = paths[k % 2].run(replace(target, eps=radius), generator)
            nearest.update(rows, found.image)
            safe = torch.where(found.success, safe, radius)
            radius = (safe + torch.minimum(nearest.distance[rows], target.eps)) / 2


class _Nearest:
    """The nearest wrong image known of every sample, and the worst of those that are right.

    Attributes:
        distance: float ``[B]``, 0 for samples that are wrong without noise, infinite where no wrong image is known.
    """

    def __init__(self, attack: Attack, target: Target) -> None:
        self.attack, self.target = attack, target
        self.wrong = target.image.clone()
        self.worst = MostAdversarial(target)
        self.distance = torch.zeros_like(target.eps).masked_fill_(target.clean_correct, math.inf)

    def image(self) -> torch.Tensor:
        known = per_sample(self.distance.isfinite(), self.wrong)
        return torch.where(known, self.wrong, self.worst.image)

    def update(self, rows: torch.Tensor, image: torch.Tensor) -> None:
        """Look at an image for each of the samples at ``rows``; a wrong one is first drawn towards the clean image."""
        target = self.target.select(rows)
        prediction = target.predict(image)
        self.worst.update(rows, image, prediction)
        wrong = (~prediction.correct).nonzero().squeeze(1)
        if len(wrong) == 0:
            return
        image = self._drawn_back(target.select(wrong), image[wrong])
        at, distance = rows[wrong], self.attack.norm.length(image - target.image[wrong])
        nearer = distance < self.distance[at]
        self.wrong[at[nearer]], self.distance[at[nearer]] = image[nearer], distance[nearer]

    @staticmethod
    def _drawn_back(target: Target, wrong: torch.Tensor) -> torch.Tensor:
        inside = target.image
        for _ in range(LINE_STEPS):
            middle = (inside + wrong) / 2
            prediction: Prediction = target.predict(middle)
            right = per_sample(prediction.correct, middle)
            inside, wrong = torch.where(right, middle, inside), torch.where(right, wrong, middle)
        return wrong
