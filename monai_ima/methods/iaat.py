from __future__ import annotations

from typing import Any, Unpack

import torch

from monai_ima.attacks import PGD
from monai_ima.margins import MarginTable
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_count, check_fraction, check_positive

from .base import LossFunction, MethodSettings
from .per_sample import PerSampleMethod

__all__ = ["IAAT"]


class IAAT(PerSampleMethod):
    """Instance adaptive adversarial training, Balaji et al. 2019 (arXiv 1910.08051).

    Every sample keeps a radius ε_i (:attr:`margins`). For a batch, after ``warmup_epochs`` epochs at ε_w:

    1. ``ε1 = ε_i + γ``, ``ε2 = ε_i``, ``ε3 = ε_i - γ``;
    2. if the sample is robust to PGD at ε1: ``ε = ε1``;
    3. else if it is robust at ε2: ``ε = ε2``;
    4. else: ``ε = ε3``;
    5. clip: ``ε = max(ε, 0)``, and 0 where the clean prediction is wrong;
    6. smooth: ``ε_i = (1 - β_ε) ε_i + β_ε ε``; remember it (in :attr:`margins` at the epoch's end);
    7. train correctly predicted samples on a PGD sample of radius ε_i, the others on their clean image.

    Lines 1-6 are the paper's algorithm that selects ε, line 7 its training algorithm; line 5 is as in the authors'
    code. In the warm-up ``ε_i = ε_w``, 0 where the clean prediction is wrong. A sample is robust when no iterate of PGD
    is misclassified (the paper looks at the last one only). Beyond the paper, ε_i has an upper limit ε_max.

    Scalars: ``loss_clean``, ``loss_noisy``, ``correct_fraction``, ``margin_mean`` and ``margin_max_fraction``.

    Args:
        eps_max: upper limit of every ε_i, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        gamma: γ, > 0; None means ``eps_max / 10``.
        smoothing: β_ε, weight of the newly selected ε, in (0, 1].
        warmup_epochs: >= 0; they come after ``start_epoch``.
        warmup_eps: ε_w, in (0, eps_max], also every ε_i's first value; None means ``eps_max / 2``.
        steps: N_PGD, >= 1.
        alpha: α; a PGD step is α ε / N_PGD long, > 0 (2 in the authors' code).
        settings: see :class:`TrainingMethod`; segmentations are correct by their criterion's threshold.

    Raises:
        ValueError: if a number is out of its range or ``norm`` is another name.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = IAAT(eps_max=0.2, norm="linf")
        >>> method.begin_epoch(1, 10)
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> scalars = method.end_epoch()
        >>> method.margins.ids()
        ['a', 'b', 'c']
    """

    name = "iaat"

    def __init__(
        self,
        eps_max: float,
        norm: str = "l2",
        gamma: float | None = None,
        smoothing: float = 0.1,
        warmup_epochs: int = 5,
        warmup_eps: float | None = None,
        steps: int = 10,
        alpha: float = 2.0,
        **settings: Unpack[MethodSettings],
    ) -> None:
        margins = MarginTable(eps_max)
        super().__init__(margins, **settings)
        self.gamma = margins.eps_max / 10 if gamma is None else check_positive("gamma", gamma)
        self.smoothing = check_fraction("smoothing", smoothing, "(]")
        self.warmup_epochs = check_count("warmup_epochs", warmup_epochs, 0)
        self.warmup_eps = margins.eps_max / 2 if warmup_eps is None else check_positive("warmup_eps", warmup_eps)
        if self.warmup_eps > margins.eps_max:
            raise ValueError(f"Got warmup_eps {warmup_eps}, expected at most eps_max = {margins.eps_max:g}.")
        self.trial, self.attack = (
            PGD(norm, steps, 1, alpha, early_stop=early_stop, **self.attack_settings) for early_stop in (True, False)
        )

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        self.check_known(batch.sample_ids)
        scored = (~self.clean_score.isnan()).nonzero().squeeze(1)
        correct = self.criterion.decide(self.clean_score)
        eps = self.select_eps(batch, correct)
        self.radii.record(batch.select(scored).sample_ids, eps[scored])
        image, label = batch.image.clone(), batch.label
        rows = correct.nonzero().squeeze(1)
        if len(rows) > 0:
            attacked = batch.select(rows)
            noisy = self.noisy(attacked, self.attack_batch(self.attack, attacked, eps[rows]))
            image[rows] = noisy.image
            if noisy.label is not attacked.label:
                label = label.index_copy(0, rows, noisy.label)
        noisy_loss = loss_function(batch.predict(image), label).mean()
        self.note_loss("loss_noisy", noisy_loss)
        self.note("correct_fraction", len(rows), len(scored))
        return noisy_loss

    def select_eps(self, batch: Batch, correct: torch.Tensor) -> torch.Tensor:
        """Lines 1 to 6: the radii of a batch's samples, float ``[B]``.

        Args:
            batch: clean.
            correct: bool ``[B]``, the clean prediction is.
        """
        if self.epoch <= self.start_epoch + self.warmup_epochs:
            return torch.where(correct, self.warmup_eps, 0.0).to(batch.image)
        before = self.margins.lookup(batch.sample_ids, self.warmup_eps).to(batch.image)
        selected = torch.zeros_like(before)
        rows = correct.nonzero().squeeze(1)
        for shift in (self.gamma, 0.0):
            if len(rows) > 0:
                result = self.attack_batch(self.trial, batch.select(rows), before[rows] + shift, f"trial {shift:g}")
                robust = ~result.success
                selected[rows[robust]] = before[rows[robust]] + shift
                rows = rows[~robust]
        selected[rows] = (before[rows] - self.gamma).clamp(min=0)
        return ((1 - self.smoothing) * before + self.smoothing * selected).clamp(max=self.margins.eps_max)
