from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.engines import SupervisedTrainer

from monai_ima.attacks import PGD, Attack, AttackResult
from monai_ima.criteria import Criterion
from monai_ima.margins import MarginTable
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_count, check_fraction, check_positive

from .per_sample import PerSampleHandler

__all__ = ["IAATHandler"]


class IAATHandler(PerSampleHandler):
    """Instance adaptive adversarial training, Balaji et al. 2019 (arXiv 1910.08051).

    Every sample keeps a radius ε_i (:attr:`margins`). For a batch, after ``warmup_epochs`` epochs at ε_w:

    1. ``ε1 = ε_i + γ``, ``ε2 = ε_i``, ``ε3 = ε_i - γ``;
    2. if the sample stands against PGD at ε1: ``ε = ε1``;
    3. else if it stands at ε2: ``ε = ε2``;
    4. else: ``ε = ε3``;
    5. clip: ``ε = max(ε, 0)``, and 0 where the clean prediction is wrong;
    6. smooth: ``ε_i = (1 - β_ε) ε_i + β_ε ε``; remember it (in :attr:`margins` at the epoch's end);
    7. train rightly predicted samples on a PGD sample of radius ε_i, the others on their clean image.

    Lines 1-6 are the paper's algorithm that selects ε, line 7 its training algorithm; line 5 is as in the authors'
    code. In the warm-up ``ε_i = ε_w``, 0 where the clean prediction is wrong. A sample stands when no point on the way
    of PGD is wrong (the paper looks at the last one only). Beyond the paper, ε_i has an upper limit ε_max.

    Scalars in ``engine.state.metrics``: ``iaat/loss_clean``, ``iaat/loss_noisy``, ``iaat/correct_fraction``,
    ``iaat/margin_mean`` and ``iaat/margin_max_fraction``.

    Args:
        eps_max: upper limit of every ε_i, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        gamma: γ, > 0; None means ``eps_max / 10``.
        smoothing: β_ε, share of the newly found ε, in (0, 1].
        warmup_epochs: >= 0.
        warmup_eps: ε_w, in (0, eps_max], also every ε_i's first value; None means ``eps_max / 2``.
        steps: N_PGD, >= 1.
        alpha: α; a PGD step is α ε / N_PGD long, > 0 (2 in the authors' code).
        criterion: see :class:`AdversarialTrainingHandler`; segmentations are right or wrong by its threshold.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`; the warm-up comes after it.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.

    Raises:
        ValueError: when an argument is not as above.
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
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        margins = MarginTable(eps_max)
        super().__init__(margins, criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        self.gamma = margins.eps_max / 10 if gamma is None else check_positive("gamma", gamma)
        self.smoothing = check_fraction("smoothing", smoothing, "(]")
        self.warmup_epochs = check_count("warmup_epochs", warmup_epochs, 0)
        self.warmup_eps = margins.eps_max / 2 if warmup_eps is None else check_positive("warmup_eps", warmup_eps)
        if self.warmup_eps > margins.eps_max:
            raise ValueError(f"Got warmup_eps {warmup_eps}, expected at most eps_max = {margins.eps_max:g}.")
        self.trial = PGD(norm, steps, 1, alpha, bounds=self.bounds, criterion=self.criterion)
        self.attack = PGD(
            norm, steps, restarts=1, alpha=alpha, bounds=self.bounds, criterion=self.criterion, early_stop=False
        )

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        self.check_known(batch.sample_ids)
        judged = (~self.clean_score.isnan()).nonzero().squeeze(1)
        right = self.criterion.decide(self.clean_score)
        eps = self.select_eps(engine, batch, right)
        self.proposals.record(batch.select(judged).sample_ids, eps[judged])
        image = batch.image.clone()
        rows = right.nonzero().squeeze(1)
        if len(rows) > 0:
            image[rows] = self._run(engine, self.attack, batch.select(rows), eps[rows], "training").image
        noisy_loss = engine.loss_function(batch.predict(image), batch.label).mean()
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_noisy", noisy_loss.item(), 1)
        self.note("correct_fraction", len(rows), len(judged))
        return noisy_loss

    def select_eps(self, engine: SupervisedTrainer, batch: Batch, right: torch.Tensor) -> torch.Tensor:
        """Lines 1 to 6: the radii of a batch's samples, float ``[B]``.

        Args:
            engine: the trainer.
            batch: the clean batch.
            right: bool ``[B]``, the clean prediction is right.
        """
        if engine.state.epoch <= self.start_epoch + self.warmup_epochs:
            return torch.where(right, self.warmup_eps, 0.0).to(batch.image)
        before = self.margins.lookup(batch.sample_ids, self.warmup_eps).to(batch.image)
        found = torch.zeros_like(before)
        rows = right.nonzero().squeeze(1)
        for shift in (self.gamma, 0.0):
            if len(rows) > 0:
                tried = self._run(engine, self.trial, batch.select(rows), before[rows] + shift, f"trial {shift:g}")
                stood = ~tried.success
                found[rows[stood]] = before[rows[stood]] + shift
                rows = rows[~stood]
        found[rows] = (before[rows] - self.gamma).clamp(min=0)
        return ((1 - self.smoothing) * before + self.smoothing * found).clamp(max=self.margins.eps_max)

    def _run(
        self, engine: SupervisedTrainer, attack: Attack, batch: Batch, eps: torch.Tensor, purpose: str
    ) -> AttackResult:
        generators = self.generators(engine, batch.sample_ids, purpose)
        with self.under_attack(batch):
            return attack(batch.predict, batch.image, batch.label, eps, generators)
