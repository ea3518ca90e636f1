from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import ignite.distributed as idist
import torch
from monai.engines import SupervisedTrainer
from tqdm import tqdm

from monai_ima.attacks import AttackResult, BoundaryPGD
from monai_ima.criteria import Criterion, SegmentationCriterion
from monai_ima.losses import IMALoss
from monai_ima.margins import MarginTable, OutcomeLog, epoch_rule, online_rule
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_count, check_fraction
from monai_ima.utils.distributed import gather_all
from monai_ima.utils.errors import SampleError

from .per_sample import PerSampleHandler

__all__ = ["IMAHandler"]

logger = logging.getLogger(__name__)


class IMAHandler(PerSampleHandler):
    """Increasing-Margin Adversarial training, Algorithms 1 and 2 of Ma & Liang (arXiv 2005.09147).

    One more entry in a trainer's handlers. For every batch, the rightly predicted samples are attacked by B-PGD
    (:class:`BoundaryPGD`, Algorithm 3), each inside the ball of its own margin ε, and the loss becomes
    ``(1 - β) (L1 + L2) + β L3`` (:class:`IMALoss`). After an epoch the margins move (:mod:`monai_ima.margins`,
    Algorithm 2). Margins, in :attr:`margins`, start at δ and stay in [δ, ε_max]; put the table into the
    ``save_dict`` of ``CheckpointSaver`` and the ``load_dict`` of ``CheckpointLoader``.

    Scalars in ``engine.state.metrics``: ``ima/loss_clean`` (L1 + L2), ``ima/loss_noisy`` (L3), ``ima/correct_fraction``
    (of the clean samples), ``ima/boundary_fraction`` (of the attacked samples: case 1), ``ima/margin_mean`` and
    ``ima/margin_max_fraction`` (share of the margins at ε_max).

    Args:
        eps_max: ε_max (the paper's ε_n), largest margin, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        delta: δ, smallest margin and expansion step, in (0, eps_max]; None means
            ``eps_max / epochs``, times ``update_interval`` where margins move by a pass.
        beta: β, weight of the noisy samples, in [0, 1].
        steps: N_PGD of the training attacks, >= 1.
        margin_steps: N_PGD of the margin pass, >= 1.
        binary_steps: N_binary, >= 0.
        alpha: α; a PGD step is α ε / N_PGD long, > 0.
        update: ``"epoch"``: a pass over the training set after every ``update_interval`` epochs, as in the paper;
            ``"online"``: no extra pass, the epoch's own training attacks move the margins.
        update_interval: epochs between two margin passes, >= 1.
        noisy_samples: which results of B-PGD enter L3, ``"all"`` (cases 0 and 1, as in the paper) or ``"boundary"``
            (case 1 only, as in the code that the authors published for classification).
        criterion: see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.
        first_pass: for a start from a trained network: a margin pass in balls of ε_max before the first adversarial
            epoch gives the margins their first values, instead of δ. A resumed run does not repeat it.
        start: where B-PGD starts: ``"clean"``, at the image, or ``"ball"``, at a random point of radius ε - δ, whose
            margins are not distances to the boundary in high dimensions (:class:`BoundaryPGD`).
        margin_restarts: how many paths of B-PGD a margin pass takes, >= 1 (the paper's note to Algorithm 2): all but
            the first start at random points, and the nearest crossing counts.

    Raises:
        ValueError: if a number is out of its range or a name is not one of those above.
    """

    name = "ima"

    def __init__(
        self,
        eps_max: float,
        norm: str = "l2",
        delta: float | None = None,
        beta: float = 0.5,
        steps: int = 20,
        margin_steps: int = 50,
        binary_steps: int = 10,
        alpha: float = 4.0,
        update: str = "epoch",
        update_interval: int = 1,
        noisy_samples: str = "all",
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
        first_pass: bool = False,
        start: str = "clean",
        margin_restarts: int = 1,
    ) -> None:
        margins = MarginTable(eps_max, delta)
        super().__init__(margins, criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        if update not in ("epoch", "online"):
            raise ValueError(f"Unknown margin update {update!r}, expected 'epoch' or 'online'.")
        if noisy_samples not in ("all", "boundary"):
            raise ValueError(f"Unknown noisy_samples {noisy_samples!r}, expected 'all' or 'boundary'.")
        self.beta = check_fraction("beta", beta)
        self.update = update
        self.update_interval = check_count("update_interval", update_interval, 1)
        self.noisy_samples = noisy_samples
        self.first_pass = first_pass
        restarts = check_count("margin_restarts", margin_restarts, 1)
        self.training_attack, self.margin_attack = (
            BoundaryPGD(norm, count, binary_steps, start, paths, alpha, self.bounds, self.criterion)
            for count, paths in ((steps, 1), (margin_steps, restarts))
        )
        self._seen = OutcomeLog()
        self._warned_of_threshold = False

    def epoch_start(self, engine: SupervisedTrainer) -> None:
        super().epoch_start(engine)
        if not self.margins.has_delta:
            epochs = max(1, engine.state.max_epochs - self.start_epoch)
            interval = self.update_interval if self.update == "epoch" else 1
            self.margins.delta = min(self.margins.eps_max / epochs * interval, self.margins.eps_max)
        self.training_attack.delta = self.margin_attack.delta = self.margins.delta
        self._seen = OutcomeLog()
        if self.first_pass and self.active(engine) and len(self.margins) == 0:
            seen = self.margin_pass(engine, self.margins.eps_max).merged()
            for sample_id in seen:
                self.margins[sample_id] = self.margins.eps_max
            self.margins.update(seen, epoch_rule)

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        """Lines 4-8 of Algorithm 1: the loss of a batch, whose ``loss`` on clean images is L1 + L2."""
        self.check_known(batch.sample_ids)
        judged = ~self.clean_score.isnan()
        self._seen.record([batch.sample_ids[row] for row in judged.nonzero().flatten().tolist()])
        right = self.criterion.decide(self.clean_score)
        criterion = IMALoss(engine.loss_function, self.beta)
        noisy = self.generate_adversarial(engine, batch.select(right.nonzero().squeeze(1)))
        noisy_loss = self.subset_loss(engine, criterion, noisy, batch)
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_noisy", noisy_loss.item(), 1)
        self.note("correct_fraction", int(right.sum()), int(judged.sum()))
        return criterion.combine(loss, noisy_loss)

    def generate_adversarial(self, engine: SupervisedTrainer, clean: Batch) -> Batch:
        """Line 3 of Algorithm 1: the B-PGD samples that enter L3.

        Args:
            engine: the trainer.
            clean: X1, the rightly predicted samples of a batch.
        """
        if not clean.sample_ids:
            return clean
        result = self._boundary(engine, self.training_attack, clean, "training")
        self._seen.record(clean.sample_ids, result)
        self.note("boundary_fraction", int(result.success.sum()), len(clean.sample_ids))
        enters = result.clean_correct if self.noisy_samples == "all" else result.success
        rows = enters.nonzero().squeeze(1)
        return replace(clean.select(rows), image=result.image[rows])

    def update_margins(self, engine: SupervisedTrainer) -> None:
        self._warn_of_threshold(engine)
        seen = self._seen.merged()
        self.margins.register(seen)
        if self.update == "online":
            self.margins.update(seen, online_rule)
        elif (engine.state.epoch - self.start_epoch) % self.update_interval == 0:
            self.margins.update(self.margin_pass(engine).merged(), epoch_rule)

    def margin_pass(self, engine: SupervisedTrainer, eps: float | None = None) -> OutcomeLog:
        """Line 1 of Algorithm 2, the pass over the training set: attack every sample inside its margin.

        The training loader is used as it is. Network modes and the global random state of torch are left alone.

        Args:
            engine: the trainer.
            eps: radius of all balls; None means each sample's margin.
        """
        seen = OutcomeLog()
        with torch.random.fork_rng(devices=[]), torch.autocast("cuda", **{**engine.amp_kwargs, "enabled": engine.amp}):
            batches = islice(engine.data_loader, engine.state.epoch_length)
            for batchdata in tqdm(
                batches,
                desc=f"margins, epoch {engine.state.epoch}",
                total=engine.state.epoch_length,
                leave=False,
                disable=idist.get_rank() > 0,
            ):
                batch = self.batch(engine, batchdata)
                try:
                    result = self._boundary(engine, self.margin_attack, batch, "margin", eps)
                except SampleError as error:
                    raise error.named(batch.sample_ids) from None
                seen.record(batch.sample_ids, result)
        return seen

    def _warn_of_threshold(self, engine: SupervisedTrainer) -> None:
        if self._warned_of_threshold or not isinstance(self.criterion, SegmentationCriterion):
            return
        parts = gather_all(self.scalar("correct_fraction"))
        right, judged = sum(part[0] for part in parts), sum(part[1] for part in parts)
        if right * 2 >= judged:
            return
        self._warned_of_threshold = True
        reach = "No sample reaches" if right == 0 else f"Only {right:g} of {judged:g} samples reach"
        logger.warning(
            f"{reach} the threshold {self.criterion.describe()} without noise in epoch {engine.state.epoch}: the "
            "others have no boundary and are trained on clean images only; a lower threshold, or a start from a "
            "trained network, gives them one."
        )

    def _boundary(
        self,
        engine: SupervisedTrainer,
        attack: BoundaryPGD,
        batch: Batch,
        purpose: str,
        eps: float | None = None,
    ) -> AttackResult:
        radius = self.margins.lookup(batch.sample_ids).to(batch.image) if eps is None else eps
        generators = self.generators(engine, batch.sample_ids, purpose)
        with self.under_attack(batch):
            return attack(batch.predict, batch.image, batch.label, radius, generators)
