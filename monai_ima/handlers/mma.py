from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from monai.engines import SupervisedTrainer

from monai_ima.attacks import AdaptiveNormPGD
from monai_ima.criteria import ClassificationCriterion, Criterion
from monai_ima.losses import MMALoss
from monai_ima.margins import MarginTable
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_fraction, check_positive

from .per_sample import PerSampleHandler

__all__ = ["MMAHandler"]


class MMAHandler(PerSampleHandler):
    """Max-margin adversarial training, Ding et al. 2020 (arXiv 1812.02637), for classifiers.

    Its Algorithm 1, for every batch of N samples:

    - split into S⁺ (rightly predicted) and S⁻ (wrongly predicted);
    - for S⁺: AN-PGD (:class:`AdaptiveNormPGD`, their Algorithm 2) on the soft logit margin, from the sample's
      margin of the last epoch, gives the boundary point x + δ* and the margin d = ‖δ*‖, which is remembered (in
      :attr:`margins`, at the epoch's end; of S⁻ the smallest radius is);
    - ``L^MMA = 1/N [Σ L(x + δ*, y) over S⁺ with d < d_max + Σ L(x, y) over S⁻]``;
    - the loss is ``w L(x, y) + (1 - w) L^MMA``, their combined loss (:class:`MMALoss`).

    Scalars in ``engine.state.metrics``: ``mma/loss_clean``, ``mma/loss_margin`` (L^MMA), ``mma/correct_fraction``,
    ``mma/margin_mean`` and ``mma/margin_max_fraction`` (share of the margins at d_max).

    Args:
        eps_max: d_max, the hinge threshold, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        eps_min: smallest and first radius of PGD, in (0, eps_max]; None means ``eps_max / 20``.
        clean_weight: w, in [0, 1].
        steps: of PGD, >= 1.
        binary_steps: bisections along its direction, >= 0.
        alpha: a PGD step is α ε / N_PGD long, > 0.
        criterion: see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.

    Raises:
        ValueError: when an argument is not as above.
    """

    name = "mma"

    def __init__(
        self,
        eps_max: float,
        norm: str = "l2",
        eps_min: float | None = None,
        clean_weight: float = 1 / 3,
        steps: int = 10,
        binary_steps: int = 10,
        alpha: float = 2.5,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        margins = MarginTable(eps_max, check_positive("eps_max", eps_max) / 20 if eps_min is None else eps_min)
        super().__init__(margins, criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        if not isinstance(self.criterion, ClassificationCriterion):
            raise ValueError(
                f"Got {type(self.criterion).__name__} for MMA training, expected ClassificationCriterion: its soft "
                "logit margin needs one class out of several."
            )
        self.clean_weight = check_fraction("clean_weight", clean_weight)
        self.attack = AdaptiveNormPGD(eps_max, norm, steps, binary_steps, alpha, self.bounds, self.criterion)

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        self.check_known(batch.sample_ids)
        eps = self.margins.lookup(batch.sample_ids).to(batch.image)
        generators = self.generators(engine, batch.sample_ids, "training")
        with self.under_attack(batch):
            result = self.attack(batch.predict, batch.image, batch.label, eps, generators)
        margins = torch.where(result.success, result.distance, self.margins.eps_max)
        margins = torch.where(result.clean_correct, margins, self.margins.delta)
        self.proposals.record(batch.sample_ids, margins)
        criterion = MMALoss(engine.loss_function, self.clean_weight)
        rows = (result.success | ~result.clean_correct).nonzero().squeeze(1)
        entering = replace(batch.select(rows), image=result.image[rows])
        margin_loss = self.subset_loss(engine, criterion, entering, batch)
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_margin", margin_loss.item(), 1)
        self.note("correct_fraction", int(result.clean_correct.sum()), len(margins))
        return criterion.combine(loss, margin_loss)
