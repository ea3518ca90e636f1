from __future__ import annotations

from typing import Any, Unpack

import torch

from monai_ima.attacks import PGD
from monai_ima.attacks.target import Target
from monai_ima.criteria import BinaryCriterion, DivergenceCriterion, SegmentationCriterion
from monai_ima.losses import TRADESLoss
from monai_ima.perturbations.norms import Generators, gaussian
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_not_negative, check_positive
from monai_ima.utils.outputs import choose_output

from .base import LossFunction, MethodSettings, TrainingMethod

__all__ = ["TRADES"]

START_DEVIATION = 0.001


class TRADES(TrainingMethod):
    """TRADES, Zhang et al. 2019 (arXiv 1901.08573), for classification and segmentation.

    Its Algorithm 1, for every batch:

    - line 5: ``x' = x + 0.001 N(0, I)``;
    - lines 6-8: N steps up the gradient of ``L(f(x), f(x'))``, the divergence from the clean prediction, each projected
      to the ball of radius ε (and clipped to the bounds);
    - line 10: the loss is ``L(f(x), y) + β L(f(x), f(x'))``, eq. (5) with β = 1/λ (:class:`TRADESLoss`); L in the
      second term is the Kullback-Leibler divergence, as in the authors' experiments.

    Scalars: ``loss_clean`` and ``loss_robust`` (the divergence).

    Args:
        eps: ε, radius of every sample's ball, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        beta: β = 1/λ, >= 0; the paper has 1 and 6.
        steps: N, >= 1.
        alpha: a step is α ε / N long, > 0.
        settings: see :class:`TrainingMethod`; the criterion only tells whether outputs are independent of each other
            (``BinaryCriterion``, a segmentation criterion with ``sigmoid``) and which label is ignored, and checks
            labels.

    Raises:
        ValueError: if a number is out of its range or ``norm`` is another name.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = TRADES(eps=0.1, norm="linf")
        >>> method.begin_epoch(1, 10)
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> sorted(method.end_epoch())
        ['loss_clean', 'loss_robust']
    """

    name = "trades"

    def __init__(
        self,
        eps: float,
        norm: str = "l2",
        beta: float = 6.0,
        steps: int = 10,
        alpha: float = 2.0,
        **settings: Unpack[MethodSettings],
    ) -> None:
        super().__init__(**settings)
        self.eps = check_positive("eps", eps)
        self.beta = check_not_negative("beta", beta)
        moves = self.perturbation is not None and self.perturbation.geometric
        if self.perturbation is not None and moves and isinstance(self.criterion, SegmentationCriterion):
            raise ValueError(
                f"Got {self.perturbation.title} for TRADES of a segmentation, expected a perturbation that moves no "
                "voxels: the divergence compares predictions voxel by voxel."
            )
        of_attack = self.attack_settings | {"criterion": None}
        self.attack = _DivergenceAscent(norm, steps, restarts=1, alpha=alpha, early_stop=False, **of_attack)
        self.sigmoid = isinstance(self.criterion, BinaryCriterion) or (
            isinstance(self.criterion, SegmentationCriterion) and self.criterion.sigmoid
        )

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        with self.under_attack(batch):
            with torch.no_grad():
                reference = choose_output(batch.predict(batch.image), self.output)
            divergence = DivergenceCriterion(reference, self.sigmoid, self.criterion.ignore_index)
            noisy = self.attack_batch(self.attack, batch, self.eps, criterion=divergence).image
        trades_loss = TRADESLoss(
            loss_function,
            self.beta,
            self.sigmoid,
            ignore_index=self.criterion.ignore_index,
            output=self.output,
            sums=self.sums(loss_function, prediction, batch),
        )
        robust_loss = trades_loss.robust(prediction, batch.label, batch.predict(noisy))
        self.note_loss("loss_robust", robust_loss)
        return trades_loss.combine(clean_loss, robust_loss)


class _DivergenceAscent(PGD):
    """PGD from ``x + 0.001 N(0, I)``, as lines 5-8 of Algorithm 1."""

    def draw(self, target: Target, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        return self.move(target, START_DEVIATION * gaussian(target.image, generator))
