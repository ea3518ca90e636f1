from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_ima.checks import check_count, check_not_negative
from monai_ima.criteria import Criterion

from .base import AttackResult, Loss, Target, select_samples
from .norms import Generators, per_sample
from .pgd import PathAttack

__all__ = ["BoundaryPGD"]

SMALLEST_START = 0.01


class BoundaryPGD(PathAttack):
    """B-PGD, Algorithm 3 of Ma & Liang (arXiv 2005.09147): the point where a sample's path meets the boundary.

    The criterion looks at every iterate of the path, the start included.

    - Case 0, never wrong: ``image`` is the last iterate, ``success`` is False.
    - Case 1, first wrong at iterate k: ``binary_steps`` bisections between iterate k-1 (the clean image when k is the
      start) and iterate k; ``image`` is the last point on the *right* side, ``success`` is True. A further
      ``2^-binary_steps`` of that last step along, the prediction is wrong.
    - Wrong before any noise: there is no boundary to look for; ``image`` is the clean image, ``success`` and
      ``clean_right`` are False.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: N_PGD, >= 1.
        binary_steps: N_binary, >= 0.
        restarts: how many ways are tried in all; only samples that have not crossed go again.
        alpha: α; a step is α ε / N_PGD long.
        random_start: begin at a point drawn uniformly from the ball of radius ε - ``delta`` (but at least 1 % of ε).
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says when a prediction is right; None means :class:`ClassificationCriterion`.
        loss: what is climbed, ``(logits, label) -> float [B]``; None means the criterion's own (cross-entropy).
        generator: source of the random starts; None means one of the attack's own, seeded with 0.
        delta: δ, the expansion step, >= 0: a random start lies in the part of the ball that was safe before it grew.

    Raises:
        ValueError: when an argument is not as above.
    """

    def __init__(
        self,
        norm: str = "l2",
        steps: int = 20,
        binary_steps: int = 10,
        restarts: int = 1,
        alpha: float = 4.0,
        random_start: bool = True,
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
        delta: float = 0.0,
    ) -> None:
        super().__init__(norm, steps, restarts, alpha, random_start, bounds, criterion, loss, generator)
        self.binary_steps = check_count("binary_steps", binary_steps, 0)
        self.delta = check_not_negative("delta", delta)

    def start_radius(self, eps: torch.Tensor) -> torch.Tensor:
        return torch.maximum(eps - self.delta, SMALLEST_START * eps)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        image = target.image.clone()
        beyond = target.image.clone()
        crossed = torch.zeros_like(target.clean_right)
        for _ in range(self.restarts):
            rows = (target.clean_right & ~crossed).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            for iterate in self.path(*select_samples(target, generator, rows)):
                wrong = ~iterate.look.right
                at = rows[iterate.index[wrong]]
                image[at], beyond[at] = iterate.previous[wrong], iterate.image[wrong]
                crossed[at] = True
            stood = iterate.look.right
            image[rows[iterate.index[stood]]] = iterate.image[stood]
        rows = crossed.nonzero().squeeze(1)
        if len(rows) > 0:
            image[rows] = self._bisect(target.select(rows), image[rows], beyond[rows])
        return self.result(target, image, crossed)

    def _bisect(self, target: Target, inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
        for _ in range(self.binary_steps):
            middle = (inside + outside) / 2
            right = per_sample(target.look(middle).right, middle)
            inside, outside = torch.where(right, middle, inside), torch.where(right, outside, middle)
        return inside
