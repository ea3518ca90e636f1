from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_ima.criteria import Criterion
from monai_ima.perturbations.base import Perturbation
from monai_ima.perturbations.norms import Generators
from monai_ima.utils.checks import check_count
from monai_ima.utils.outputs import Output

from .base import Attack, AttackResult, AttackSettings
from .target import MostAdversarial, Target

__all__ = ["UniformNoise"]


class UniformNoise(Attack):
    """Uniform random noise: points drawn from the ball, the paper's "white-noise-induced adversarial samples".

    Not an attack to measure robustness with, but the noise a scanner may add. ``result.image`` is the first draw
    that is misclassified; else the draw of the lowest score.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        draws: number of points tried for each sample, >= 1; a sample leaves with its first misclassified one.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says when a prediction is correct; None means :class:`ClassificationCriterion`.
        generator: source of the draws; None means one of the attack's own, seeded with 0.
        channels: of the image that noise may change; None means all.
        output: see :class:`Attack`.
        perturbation: see :class:`Attack`.
        compile: see :class:`Attack`.
        memory_format: see :class:`Attack`.
        autocast: see :class:`Attack`.

    Raises:
        ValueError: if a number is out of its range or a name is unknown.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = UniformNoise("linf", draws=5)(network, image, label, eps=0.1)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(
        self,
        norm: str = "linf",
        draws: int = 100,
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        generator: torch.Generator | None = None,
        channels: Sequence[int] | None = None,
        output: Output = None,
        perturbation: Perturbation | None = None,
        compile: bool = False,
        memory_format: str | None = None,
        autocast: str | None = None,
    ) -> None:
        shared = AttackSettings(
            bounds=bounds,
            criterion=criterion,
            generator=generator,
            channels=channels,
            output=output,
            perturbation=perturbation,
            compile=compile,
            memory_format=memory_format,
            autocast=autocast,
        )
        super().__init__(norm, **shared)
        self.draws = check_count("draws", draws, 1)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        worst = MostAdversarial(target)
        for rows, active, generators in worst.rounds(self.draws, generator):
            image = self.draw(active, active.eps, generators)
            worst.update(rows, image, active.predict(image))
        return self.result(target, worst.image, worst.broken)
