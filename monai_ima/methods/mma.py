from __future__ import annotations

from typing import Any, Unpack

import torch

from monai_ima.attacks import AdaptiveNormPGD
from monai_ima.criteria import ClassificationCriterion
from monai_ima.losses import MMALoss
from monai_ima.margins import MarginTable
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_fraction, check_positive

from .base import LossFunction, MethodSettings
from .per_sample import PerSampleMethod

__all__ = ["MMA"]


class MMA(PerSampleMethod):
    """Max-margin adversarial training, Ding et al. 2020 (arXiv 1812.02637), for classifiers.

    Its Algorithm 1, for every batch of N samples:

    - split into S⁺ (correctly predicted) and S⁻ (misclassified);
    - for S⁺: AN-PGD (:class:`AdaptiveNormPGD`, their Algorithm 2) on the soft logit margin, from the sample's
      margin of the last epoch, gives the boundary point x + δ* and the margin d = ‖δ*‖, which is remembered (in
      :attr:`margins`, at the epoch's end; of S⁻ the smallest radius is);
    - ``L^MMA = 1/N [Σ L(x + δ*, y) over S⁺ with d < d_max + Σ L(x, y) over S⁻]``;
    - the loss is ``w L(x, y) + (1 - w) L^MMA``, their combined loss (:class:`MMALoss`).

    Scalars: ``loss_clean``, ``loss_margin`` (L^MMA), ``correct_fraction``, ``margin_mean`` and ``margin_max_fraction``
    (share of the margins at d_max).

    Args:
        eps_max: d_max, the hinge threshold, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        eps_min: smallest and first radius of PGD, in (0, eps_max]; None means ``eps_max / 20``.
        clean_weight: w, in [0, 1].
        steps: of PGD, >= 1.
        binary_steps: bisections along its direction, >= 0.
        alpha: a PGD step is α ε / N_PGD long, > 0.
        settings: see :class:`TrainingMethod`; the criterion must be a :class:`ClassificationCriterion`.

    Raises:
        ValueError: if a number is out of its range, ``norm`` is another name, or the criterion another one.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = MMA(eps_max=0.2, norm="linf")
        >>> method.begin_epoch(1, 10)
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> scalars = method.end_epoch()
        >>> method.margins.ids()
        ['a', 'b', 'c']
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
        **settings: Unpack[MethodSettings],
    ) -> None:
        smallest = check_positive("eps_max", eps_max) / 20 if eps_min is None else eps_min
        super().__init__(MarginTable(eps_max, smallest), **settings)
        if not isinstance(self.criterion, ClassificationCriterion):
            raise ValueError(
                f"Got {type(self.criterion).__name__} for MMA training, expected ClassificationCriterion: its soft "
                "logit margin needs one class out of several."
            )
        self.clean_weight = check_fraction("clean_weight", clean_weight)
        self.attack = AdaptiveNormPGD(eps_max, norm, steps, binary_steps, alpha, **self.attack_settings)

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        self.check_known(batch.sample_ids)
        eps = self.margins.lookup(batch.sample_ids).to(batch.image)
        result = self.attack_batch(self.attack, batch, eps)
        margins = torch.where(result.success, result.distance, self.margins.eps_max)
        margins = torch.where(result.clean_correct, margins, self.margins.delta)
        labelled = self.labelled.nonzero().squeeze(1)
        self.radii.record(batch.select(labelled).sample_ids, margins[labelled])
        mma_loss = MMALoss(loss_function, self.clean_weight, self.sums(loss_function, prediction, batch))
        rows = (self.labelled & (result.success | ~result.clean_correct)).nonzero().squeeze(1)
        margin_loss = self.subset_loss(mma_loss, self.noisy(batch, result, rows), batch)
        self.note_loss("loss_margin", margin_loss)
        self.note("correct_fraction", int(result.clean_correct.sum()), len(labelled))
        return mma_loss.combine(clean_loss, margin_loss)
