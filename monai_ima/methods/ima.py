from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Unpack

import torch
from tqdm import tqdm

from monai_ima.attacks import BoundaryPGD
from monai_ima.criteria import SegmentationCriterion
from monai_ima.losses import IMALoss
from monai_ima.margins import MarginTable, OutcomeLog, coarse_delta, epoch_rule, online_rule
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_bool, check_choice, check_count, check_fraction
from monai_ima.utils.distributed import gather_all, rank
from monai_ima.utils.errors import SampleError

from .base import LossFunction, MethodSettings
from .per_sample import PerSampleMethod

__all__ = ["IMA"]

logger = logging.getLogger(__name__)


class IMA(PerSampleMethod):
    """Increasing-Margin Adversarial training, Algorithms 1 and 2 of Ma & Liang (arXiv 2005.09147).

    Of every batch the correctly predicted samples are attacked by B-PGD (:class:`BoundaryPGD`, Algorithm 3), each
    inside the ball of its own margin ε, and the loss becomes ``(1 - β) (L1 + L2) + β L3`` (:class:`IMALoss`). After an
    epoch the margins move (:mod:`monai_ima.margins`, Algorithm 2). Margins, in :attr:`margins`, start at δ and stay in
    [δ, ε_max].

    Scalars: ``loss_clean`` (L1 + L2), ``loss_noisy`` (L3), ``correct_fraction`` (of the clean samples),
    ``boundary_fraction`` (of the attacked samples: case 1), ``margin_mean`` and ``margin_max_fraction`` (share of the
    margins at ε_max).

    Args:
        eps_max: ε_max (the paper's ε_n), largest margin, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        delta: δ, smallest margin and expansion step, in (0, eps_max]; None means ``eps_max / epochs`` (of the epochs in
            which the method is active), times ``update_interval`` where margins move by a pass. From ε_max / 3 on a
            warning says that margins cannot tell samples apart.
        beta: β, weight of the noisy samples, in [0, 1].
        steps: N_PGD of the training attacks, >= 1.
        margin_steps: N_PGD of the margin pass, >= 1.
        binary_steps: N_binary, >= 0; None: 10 for bisection, 4 for ITP.
        alpha: α; a constant PGD step is α ε / N_PGD long, > 0; None: 4.
        schedule: of the steps' lengths, ``"cosine"`` or ``"constant"`` (:class:`BoundaryPGD`). The paper's settings are
            ``schedule="constant", steps=20, margin_steps=50``; the default is as good at a lower cost
            (``docs/results/schedule.md``).
        search: for the boundary on the last step, ``"bisection"`` or ``"itp"`` (:class:`BoundaryPGD`); None: bisection
            with constant steps, as in the paper, ITP with cosine ones.
        update: ``"epoch"``: a pass over the training set after every ``update_interval`` epochs, as in the paper;
            ``"online"``: no extra pass, the epoch's own training attacks move the margins.
        update_interval: epochs between two margin passes, >= 1.
        noisy_samples: which results of B-PGD enter L3, ``"all"`` (cases 0 and 1, as in the paper) or ``"boundary"``
            (case 1 only, as in the code that the authors published for classification).
        first_pass: for a start from a trained network: a margin pass in balls of ε_max before the first adversarial
            epoch gives the margins their first values, instead of δ. A resumed training does not repeat it.
        start: where B-PGD starts: ``"clean"``, at the image, or ``"ball"``, at a random point of radius ε - δ, whose
            margins are not distances to the boundary in high dimensions (:class:`BoundaryPGD`).
        margin_restarts: how many paths of B-PGD a margin pass takes, >= 1 (the paper's note to Algorithm 2): all but
            the first start at random points, and the nearest crossing counts.
        settings: see :class:`TrainingMethod`.

    Raises:
        ValueError: if a number is out of its range or a name is not one of those above, or ``alpha`` is given with
            another schedule than ``"constant"``.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = IMA(eps_max=0.3, norm="linf")
        >>> method.begin_epoch(1, 10, [batch])
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> loss.backward()
        >>> sorted(method.end_epoch([batch]))[-2:]
        ['margin_max_fraction', 'margin_mean']
        >>> len(method.margins)
        3
    """

    name = "ima"

    def __init__(
        self,
        eps_max: float,
        norm: str = "l2",
        delta: float | None = None,
        beta: float = 0.5,
        steps: int = 11,
        margin_steps: int = 25,
        binary_steps: int | None = None,
        alpha: float | None = None,
        update: str = "epoch",
        update_interval: int = 1,
        noisy_samples: str = "all",
        first_pass: bool = False,
        start: str = "clean",
        margin_restarts: int = 1,
        schedule: str = "cosine",
        search: str | None = None,
        **settings: Unpack[MethodSettings],
    ) -> None:
        super().__init__(MarginTable(eps_max, delta), **settings)
        self.margin_update = check_choice("margin update", update, ("epoch", "online"))
        self.noisy_samples = check_choice("noisy_samples", noisy_samples, ("all", "boundary"))
        self.beta = check_fraction("beta", beta)
        self.update_interval = check_count("update_interval", update_interval, 1)
        self.first_pass = check_bool("first_pass", first_pass)
        margin_steps = check_count("margin_steps", margin_steps, 1)
        restarts = check_count("margin_restarts", margin_restarts, 1)
        self.training_attack, self.margin_attack = (
            BoundaryPGD(
                norm, count, binary_steps, start, paths, alpha, schedule=schedule, search=search, **self.attack_settings
            )
            for count, paths in ((steps, 1), (margin_steps, restarts))
        )
        self._outcomes = OutcomeLog()
        self._warned_of_threshold = False
        self._warned_of_delta = False

    @property
    def makes_passes(self) -> bool:
        return self.margin_update == "epoch" or self.first_pass

    def begin_epoch(self, epoch: int, epochs: int, training_set: Iterable[Batch] = ()) -> None:
        super().begin_epoch(epoch, epochs, training_set)
        if not self.margins.has_delta:
            interval = self.update_interval if self.margin_update == "epoch" else 1
            delta = self.margins.eps_max / max(1, epochs - self.start_epoch) * interval
            self.margins.delta = min(delta, self.margins.eps_max)
        self._warn_of_delta()
        self.training_attack.delta = self.margin_attack.delta = self.margins.delta
        self._outcomes = OutcomeLog()
        if self.first_pass and self.active and len(self.margins) == 0:
            outcomes = self.margin_pass(training_set, self.margins.eps_max).merged()
            for sample_id in outcomes:
                self.margins[sample_id] = self.margins.eps_max
            self.margins.update(outcomes, epoch_rule)

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        """Lines 4-8 of Algorithm 1: the loss of a batch, whose ``clean_loss`` is L1 + L2."""
        self.check_known(batch.sample_ids)
        scored = ~self.clean_score.isnan()
        self._outcomes.record([batch.sample_ids[row] for row in scored.nonzero().flatten().tolist()])
        correct = self.criterion.decide(self.clean_score)
        ima_loss = IMALoss(loss_function, self.beta, self.sums(loss_function, prediction, batch))
        noisy = self.generate_adversarial(batch.select(correct.nonzero().squeeze(1)))
        noisy_loss = self.subset_loss(ima_loss, noisy, batch)
        self.note_loss("loss_noisy", noisy_loss)
        self.note("correct_fraction", int(correct.sum()), int(scored.sum()))
        return ima_loss.combine(clean_loss, noisy_loss)

    def generate_adversarial(self, clean: Batch) -> Batch:
        """Line 3 of Algorithm 1: the B-PGD samples that enter L3.

        Args:
            clean: X1, the correctly predicted samples of a batch.
        """
        if not clean.sample_ids:
            return clean
        result = self.attack_batch(self.training_attack, clean, self._radii(clean))
        self._outcomes.record(clean.sample_ids, result)
        self.note("boundary_fraction", int(result.success.sum()), len(clean.sample_ids))
        enters = result.clean_correct if self.noisy_samples == "all" else result.success
        rows = enters.nonzero().squeeze(1)
        return self.noisy(clean, result, rows)

    def update_margins(self, training_set: Iterable[Batch]) -> None:
        self._warn_of_threshold()
        outcomes = self._outcomes.merged()
        self.margins.register(outcomes)
        if self.margin_update == "online":
            self.margins.update(outcomes, online_rule)
        elif (self.epoch - self.start_epoch) % self.update_interval == 0:
            self.margins.update(self.margin_pass(training_set).merged(), epoch_rule)

    def margin_pass(self, training_set: Iterable[Batch], eps: float | None = None) -> OutcomeLog:
        """Line 1 of Algorithm 2, the pass over the training set: attack every sample inside its margin.

        Network modes and the global random state of torch are left alone.

        Args:
            training_set: every training sample once, as batches.
            eps: radius of all balls; None means each sample's margin.
        """
        outcomes = OutcomeLog()
        with torch.random.fork_rng(devices=[]):
            for batch in tqdm(training_set, desc=f"margins, epoch {self.epoch}", leave=False, disable=rank() > 0):
                try:
                    radii = self._radii(batch) if eps is None else eps
                    result = self.attack_batch(self.margin_attack, batch, radii, "margin")
                except SampleError as error:
                    raise error.named(batch.sample_ids) from None
                outcomes.record(batch.sample_ids, result)
        return outcomes

    def _warn_of_delta(self) -> None:
        warning = None if self._warned_of_delta else coarse_delta(self.margins.eps_max, self.margins.delta)
        self._warned_of_delta = True
        if warning and rank() == 0:
            logger.warning(warning)

    def _warn_of_threshold(self) -> None:
        if self._warned_of_threshold or not isinstance(self.criterion, SegmentationCriterion):
            return
        parts = gather_all(self.scalar("correct_fraction"))
        correct, scored = sum(part[0] for part in parts), sum(part[1] for part in parts)
        if correct == 0 or correct * 2 >= scored:
            return
        self._warned_of_threshold = True
        logger.warning(
            f"Only {correct:g} of {scored:g} samples reach the threshold {self.criterion.describe()} without noise in "
            f"epoch {self.epoch}: the others have no boundary and are trained on clean images only; a lower threshold, "
            "or a start from a trained network, gives them one."
        )

    def _radii(self, batch: Batch) -> torch.Tensor:
        return self.margins.lookup(batch.sample_ids).to(batch.image)
