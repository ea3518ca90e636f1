from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import torch

from monai_ima.perturbations.norms import Generators, Linf, per_sample
from monai_ima.utils.checks import check_count, check_positive
from monai_ima.utils.tensors import first_output

from .base import Attack, AttackResult, AttackSettings
from .target import MostAdversarial, Split, Target, select_samples

__all__ = ["SPSA", "estimate_gradient"]

DECAY_FIRST, DECAY_SECOND, SMALLEST_SCALE = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma & Ba 2015)."""


class SPSA(Attack):
    """Simultaneous perturbation stochastic approximation (Uesato et al. 2018, arXiv 1802.05666; Spall 1992).

    An attack that sees only what the network answers, never a gradient: where it breaks more samples than
    :class:`PGD`, the network hides its gradients instead of being robust. Step k, from the clean image on::

        g_k     = estimate_gradient of J at x_k, from ``samples`` random directions
        x_{k+1} = P(x_k + Adam(g_k))

    with P the projection to the ball and the bounds, and J minus the criterion's score: for
    :class:`ClassificationCriterion` the paper's margin ``max_{j≠y} z_j - z_y``. Probes lie up to ``delta`` a voxel
    around x_k, ball and bounds notwithstanding. A score that moves in jumps, such as a Dice of label maps, needs a
    ``delta`` that makes it move.

    ``result.image`` is the first misclassified iterate; of a robust sample, the iterate of the lowest score. A
    sample leaves as soon as it is broken. ``result.queries`` is 1 for the clean image and 2 ``samples`` + 1 for each
    step.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: number of Adam steps, >= 1.
        samples: number of random directions per step, >= 1, each of which takes two queries.
        delta: length of a probe along each voxel, in the units of the image, > 0; of the parameters of a perturbation
            in units of ε.
        learning_rate: Adam's, in the same units, > 0.
        batch_size: the most probes shown to the network at once, >= 1.
        settings: see :class:`Attack`; J is ``loss``, None means minus the criterion's score; the directions are drawn
            from ``generator``.

    Raises:
        ValueError: if a number is out of its range or a name is unknown.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = SPSA("linf", steps=2, samples=4)(network, image, label, eps=0.1)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(
        self,
        norm: str = "linf",
        steps: int = 100,
        samples: int = 128,
        delta: float = 0.01,
        learning_rate: float = 0.01,
        batch_size: int = 128,
        **settings: Unpack[AttackSettings],
    ) -> None:
        super().__init__(norm, **settings)
        self.steps = check_count("steps", steps, 1)
        self.samples = check_count("samples", samples, 1)
        self.delta = check_positive("delta", delta)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.batch_size = check_count("batch_size", batch_size, 1)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        worst = MostAdversarial(target)
        queries = torch.ones_like(target.rows)
        rows = (target.clean_correct & (target.eps > 0)).nonzero().squeeze(1)
        active, generators = select_samples(target, generator, rows)
        image = active.image
        mean = square = torch.zeros_like(image)
        for step in range(1, self.steps + 1):
            if len(rows) == 0:
                break
            gradient = self._estimate(active, image, generators)
            mean = DECAY_FIRST * mean + (1 - DECAY_FIRST) * gradient
            square = DECAY_SECOND * square + (1 - DECAY_SECOND) * gradient**2
            scale = (square / (1 - DECAY_SECOND**step)).sqrt_().add_(SMALLEST_SCALE)
            ahead = self.learning_rate / (1 - DECAY_FIRST**step) * mean / scale
            if self.perturbation is not None:
                ahead *= per_sample(active.eps, ahead)
            image = self.move(active, ahead.add_(image).sub_(active.image))
            prediction = active.predict(image)
            worst.update(rows, image, prediction)
            queries[rows] += 2 * self.samples + 1
            split = Split.of(prediction.correct)
            if len(split.wrong) > 0:
                stay = split.correct
                rows, image, mean, square = rows[stay], image[stay], mean[stay], square[stay]
                active, generators = select_samples(active, generators, stay, split.correct_rows)
        return replace(self.result(target, worst.image, worst.broken), queries=queries)

    def _estimate(self, target: Target, image: torch.Tensor, generator: Generators) -> torch.Tensor:
        def value(probes: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            asked = target.select(index)
            if asked.attack_loss is None:
                return -asked.predict(probes).score
            return asked.loss(first_output(asked.network(probes)), asked.label_at(probes))

        delta = self.delta if self.perturbation is None else self.delta * target.eps
        return estimate_gradient(value, image, self.samples, delta, generator, self.batch_size)


def estimate_gradient(
    value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    samples: int,
    delta: float | torch.Tensor,
    generator: Generators,
    batch_size: int,
) -> torch.Tensor:
    """The gradient of a function of which only values are known, from symmetric differences along random signs.

    ``g = 1/n Σ_i v_i (J(x + δ v_i) - J(x - δ v_i)) / (2 δ)``, the v_i drawn from {-1, 1} voxel by voxel. Exact on
    average for small δ; of a linear J of slope w the mean squared error is ``(D - 1) ‖w‖² / n`` for D voxels.

    Args:
        value: J, ``(probes, index) -> float [M]``, with probes ``[M, C, *spatial]`` and index ``[M]``, the positions
            of their samples in ``image``.
        image: x, ``[B, C, *spatial]``.
        samples: n, directions per sample; each sample's are drawn from its own generator if it has one.
        delta: δ, one for all or ``[B]``.
        generator: one, or one for each sample.
        batch_size: the most probes handed to ``value`` at once.

    Returns:
        ``[B, C, *spatial]``.
    """
    batch = len(image)
    at_once = max(1, batch_size // (2 * batch))
    radius = image.new_ones(batch)
    reach = per_sample(delta, image) if isinstance(delta, torch.Tensor) else delta
    total = torch.zeros_like(image)
    for first in range(0, samples, at_once):
        count = min(at_once, samples - first)
        signs = torch.stack([Linf().draw(image, radius, generator) for _ in range(count)]).lt(0).to(image) * -2 + 1
        probes = torch.cat([image + reach * signs, image - reach * signs]).flatten(0, 1)
        index = torch.arange(batch, device=image.device).repeat(2 * count)
        parts = zip(probes.split(batch_size), index.split(batch_size), strict=True)
        up, down = torch.cat([value(*part) for part in parts]).view(2, count, batch).to(image)
        for rise, direction in zip(up - down, signs, strict=True):
            total += per_sample(rise, direction) * direction
    return total / (2 * reach * samples)
