from __future__ import annotations

import math
from typing import Unpack

import torch

from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_count, check_fraction, check_positive

from .base import Attack, AttackResult, AttackSettings
from .target import NearestAdversarial, Target, select_samples

__all__ = ["DDN"]

LAST_STEP = 0.01


class DDN(Attack):
    """Decoupled direction and norm (Rony et al. 2019, arXiv 1811.09600, Algorithm 1): L2 search.

    Step k of K, with δ_0 = 0 and ε_0 the smaller of ``init_eps`` and ε, for every sample by itself::

        δ_k = x_{k-1} - x + α_k g / ‖g‖,    g the gradient of the loss at x_{k-1}
        ε_k = (1 - γ) ε_{k-1} if x_{k-1} is wrong, else the smaller of (1 + γ) ε_{k-1} and ε
        x_k = clip(x + ε_k δ_k / ‖δ_k‖)

    α_k falls from ε_0 to 0.01 ε_0 along a half cosine: the paper's 1 to 0.01 for its ε_0 = 1, and the same way in any
    other unit of intensity. Where a gradient is exactly zero a random direction takes its place.
    K steps end no nearer than (1 - γ)^K ε_0 to the clean image.

    Looks for the nearest misclassified point. ``eps`` of the call is the largest radius allowed. ``result.image`` is
    the nearest misclassified point found; where there is none, the iterate of the lowest score, and ``success`` is
    False. A sample that is misclassified when clean is a success at distance 0. All others take all steps.

    Args:
        steps: K, >= 1.
        gamma: γ, by which the radius grows or shrinks in a step, in (0, 1).
        init_eps: the radius of the first step in the units of the image, > 0.
        settings: see :class:`Attack`; the random directions are drawn from ``generator``.

    Raises:
        ValueError: if a number is out of its range or a name is unknown.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = DDN(steps=20)(network, image, label, eps=2.0)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(
        self,
        steps: int = 100,
        gamma: float = 0.05,
        init_eps: float = 1.0,
        **settings: Unpack[AttackSettings],
    ) -> None:
        super().__init__("l2", **settings)
        if self.norm.name != "l2":
            what = self.norm.name if self.perturbation is None else self.perturbation.title
            raise ValueError(f"Got {what} for DDN, expected a perturbation in the norm 'l2'.")
        self.steps = check_count("steps", steps, 1)
        self.gamma = check_fraction("gamma", gamma, "()")
        self.init_eps = check_positive("init_eps", init_eps)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        nearest = NearestAdversarial(target)
        rows = (target.clean_correct & (target.eps > 0)).nonzero().squeeze(1)
        if len(rows) > 0:
            active, generators = select_samples(target, generator, rows)
            first = radius = active.eps.clamp(max=self.init_eps)
            image = active.image
            for step in range(self.steps):
                prediction = active.predict_with_gradient(image)
                nearest.update(rows, image, prediction, target.norm.length(image - active.image))
                pace = LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * step / self.steps)) / 2
                move = self.direction(prediction.gradient, active, generators).mul_(per_sample(pace * first, image))
                direction = target.norm.steepest(move.add_(image).sub_(active.image))
                radius = torch.where(prediction.correct, (1 + self.gamma) * radius, (1 - self.gamma) * radius)
                radius = torch.minimum(radius, active.eps)
                image = self.move(active, direction.mul_(per_sample(radius, image)))
            nearest.update(rows, image, active.predict(image), target.norm.length(image - active.image))
        return self.result(target, nearest.image, nearest.known)
