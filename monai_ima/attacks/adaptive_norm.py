from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch

from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_count, check_positive

from .base import AttackResult, AttackSettings
from .line_search import Segment, bisect
from .pgd import PathAttack
from .target import Target

__all__ = ["AdaptiveNormPGD"]


class AdaptiveNormPGD(PathAttack):
    """AN-PGD, the attack of MMA training: Ding et al. 2020 (arXiv 1812.02637), Algorithm 2.

    - PGD with a random start in the ball of the radius ``eps`` of the call gives a perturbation δ1;
    - the boundary is looked for along δ1: bisection of ``η`` in [0, ``eps_max``] for the point ``x + η δ1 / ‖δ1‖``
      where the prediction becomes wrong.

    ``image`` is the last correct point before the boundary, ``distance`` the margin, ``success`` True. Where the point
    at ``eps_max`` is still correct, it is ``image`` and ``success`` is False. A sample that is misclassified when clean
    stays as it is.

    Args:
        eps_max: end of the search, > 0.
        norm: ``"l2"`` or ``"linf"``.
        steps: of PGD, >= 1.
        binary_steps: number of bisections, >= 0.
        alpha: α; a PGD step is α eps / steps long.
        settings: see :class:`Attack`; the random starts are drawn from ``generator``.

    Raises:
        ValueError: if a number is out of its range or a name is unknown.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = AdaptiveNormPGD(eps_max=1.0)(network, image, label, eps=0.5)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(
        self,
        eps_max: float,
        norm: str = "l2",
        steps: int = 10,
        binary_steps: int = 10,
        alpha: float = 2.5,
        **settings: Unpack[AttackSettings],
    ) -> None:
        super().__init__(norm, steps=steps, restarts=1, alpha=alpha, early_stop=False, **settings)
        self.binary_steps = check_count("binary_steps", binary_steps, 0)
        self.eps_max = check_positive("eps_max", eps_max)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        for iterate in self.path(target, generator, target.eps):
            last = iterate.image
        direction = last - target.image
        length = target.norm.length(direction)
        unit = direction / per_sample(torch.where(length > 0, length, torch.ones_like(length)), direction)
        reach = replace(target, eps=torch.full_like(target.eps, self.eps_max))
        near = self.move(reach, unit * per_sample(target.eps.clamp(max=self.eps_max), unit))
        far = self.move(reach, unit * self.eps_max)
        at_near, at_far = reach.predict(near), reach.predict(far)
        found = target.clean_correct & ~(at_near.correct & at_far.correct)
        image = torch.where(per_sample(target.clean_correct, far), far, target.image)
        rows = found.nonzero().squeeze(1)
        if len(rows) > 0:
            segment = Segment(target.image, far, target.clean_score, at_far.score).cut(near, at_near)
            image[rows] = bisect(target.select(rows), segment.select(rows), self.binary_steps).correct
        return self.result(target, image, found)
