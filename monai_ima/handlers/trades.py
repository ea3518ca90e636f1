from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.engines import SupervisedTrainer
from monai.utils import CommonKeys

from monai_ima.attacks import PGD
from monai_ima.attacks.target import Target
from monai_ima.criteria import BinaryCriterion, Criterion, DivergenceCriterion, SegmentationCriterion
from monai_ima.losses import TRADESLoss
from monai_ima.perturbations.norms import Generators, gaussian
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_not_negative, check_positive
from monai_ima.utils.tensors import first_output

from .base import AdversarialTrainingHandler

__all__ = ["TRADESHandler"]

START_DEVIATION = 0.001


class TRADESHandler(AdversarialTrainingHandler):
    """TRADES, Zhang et al. 2019 (arXiv 1901.08573), for classification and segmentation.

    Its Algorithm 1, for every batch:

    - line 5: ``x' = x + 0.001 N(0, I)``;
    - lines 6-8: N steps up the gradient of ``L(f(x), f(x'))``, the divergence from the clean prediction, each projected
      to the ball of radius ε (and clipped to the bounds);
    - line 10: the loss is ``L(f(x), y) + β L(f(x), f(x'))``, eq. (5) with β = 1/λ (:class:`TRADESLoss`); L in the
      second term is the Kullback-Leibler divergence, as in the authors' experiments.

    Scalars in ``engine.state.metrics``: ``trades/loss_clean`` and ``trades/loss_robust`` (the divergence).

    Args:
        eps: ε, radius of every sample's ball, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        beta: β = 1/λ, >= 0; the paper has 1 and 6.
        steps: N, >= 1.
        alpha: a step is α ε / N long, > 0.
        criterion: only tells whether outputs are independent of each other (``BinaryCriterion``, a segmentation
            criterion with ``sigmoid``), and checks labels; see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.

    Raises:
        ValueError: when an argument is not as above.
    """

    name = "trades"

    def __init__(
        self,
        eps: float,
        norm: str = "l2",
        beta: float = 6.0,
        steps: int = 10,
        alpha: float = 2.0,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        super().__init__(criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        self.eps = check_positive("eps", eps)
        self.beta = check_not_negative("beta", beta)
        self.attack = _DivergenceAscent(norm, steps, restarts=1, alpha=alpha, bounds=self.bounds, early_stop=False)
        self.sigmoid = isinstance(self.criterion, BinaryCriterion) or (
            isinstance(self.criterion, SegmentationCriterion) and self.criterion.sigmoid
        )

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        pred = engine.state.output[CommonKeys.PRED]
        generators = self.generators(engine, batch.sample_ids, "training")
        with self.under_attack(batch):
            with torch.no_grad():
                reference = first_output(batch.predict(batch.image))
            divergence = DivergenceCriterion(reference, self.sigmoid)
            noisy = self.attack(batch.predict, batch.image, batch.label, self.eps, generators, divergence).image
        criterion = TRADESLoss(engine.loss_function, self.beta, self.sigmoid)
        robust = criterion.robust(pred, batch.label, batch.predict(noisy))
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_robust", robust.item(), 1)
        return criterion.combine(loss, robust)


class _DivergenceAscent(PGD):
    """PGD from ``x + 0.001 N(0, I)``, as lines 5-8 of Algorithm 1."""

    def draw(self, target: Target, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        return self.move(target, START_DEVIATION * gaussian(target.image, generator))
