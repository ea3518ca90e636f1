from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch

from monai_ima.perturbations.norms import Generators
from monai_ima.utils.checks import check_count

from .base import Attack, AttackResult, AttackSettings
from .ddn import DDN
from .line_search import Segment, bisect
from .pgd import PGD
from .target import NearestAdversarial, Target, select_samples

__all__ = ["MinimumNorm"]

LINE_STEPS = 10


class MinimumNorm(Attack):
    """The smallest perturbation that can be found for each sample: an upper bound of its distance to the boundary.

    In L2 :class:`DDN` searches first. Then PGD is run in the ball as large as the nearest misclassified point known
    (the whole ball where there is none), and ``rounds`` times more in the ball half way between that point and the
    largest radius that PGD did not break, by turns from the clean image and from a random point; every misclassified
    point found is drawn back towards the clean image by bisection of the line between the two, as long as it is
    misclassified.

    ``eps`` of the call is the largest radius searched. ``result.image`` is the nearest misclassified point found and
    ``result.distance`` its distance; where there is none, ``success`` is False and the image is the one of the lowest
    score. A sample that is misclassified when clean is a success at distance 0.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: of PGD, and of DDN, >= 1.
        rounds: of halving, >= 0.
        settings: see :class:`Attack`; the random starts are drawn from ``generator``.

    Raises:
        ValueError: if a number is out of its range or a name is unknown.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = MinimumNorm("linf", steps=10)(network, image, label, eps=0.5)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(self, norm: str = "l2", steps: int = 100, rounds: int = 8, **settings: Unpack[AttackSettings]) -> None:
        super().__init__(norm, **settings)
        self.steps = check_count("steps", steps, 1)
        self.rounds = check_count("rounds", rounds, 0)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        nearest = NearestAdversarial(target)
        rows = (target.clean_correct & (target.eps > 0)).nonzero().squeeze(1)
        if len(rows) > 0:
            self._search(nearest, rows, *select_samples(target, generator, rows))
        return self.result(target, nearest.image, nearest.known)

    def _search(self, nearest: NearestAdversarial, rows: torch.Tensor, target: Target, generator: Generators) -> None:
        if target.norm.name == "l2":
            first = float(target.eps.max()) / 2
            found = DDN(self.steps, init_eps=first).run(target, generator)
            self._take(nearest, rows, target, found.image)
        paths = [PGD(steps=self.steps, restarts=1, random_start=k > 0) for k in range(2)]
        safe = torch.zeros_like(target.eps)
        radius = torch.minimum(nearest.distance[rows], target.eps)
        for k in range(self.rounds + 1):
            found = paths[k % 2].run(replace(target, eps=radius), generator)
            self._take(nearest, rows, target, found.image)
            safe = torch.where(found.success, safe, radius)
            radius = (safe + torch.minimum(nearest.distance[rows], target.eps)) / 2

    def _take(self, nearest: NearestAdversarial, rows: torch.Tensor, target: Target, image: torch.Tensor) -> None:
        """Take in the images of the samples at ``rows``; a misclassified one is first drawn towards the clean image."""
        prediction = target.predict(image)
        wrong = (~prediction.correct).nonzero().squeeze(1)
        if len(wrong) > 0:
            line = Segment(target.image, image, target.clean_score, prediction.score).select(wrong)
            drawn = bisect(target.select(wrong), line, LINE_STEPS).misclassified
            image = image.index_copy(0, wrong, drawn)
        nearest.update(rows, image, prediction, target.norm.length(image - target.image))
