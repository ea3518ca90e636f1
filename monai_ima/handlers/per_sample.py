from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import ignite.distributed as idist
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from monai_ima.attacks import allow_single_value_batchnorm
from monai_ima.criteria import Criterion
from monai_ima.losses import IMALoss
from monai_ima.margins import MarginTable, RadiusAccumulator
from monai_ima.utils.batch import Batch
from monai_ima.utils.distributed import gather_all

from .base import AdversarialTrainingHandler

__all__ = ["PerSampleHandler"]

MAX_UNKNOWN_IDS = 100
"""Margins are refused once that many different samples have come by and none of them has a margin."""


class PerSampleHandler(AdversarialTrainingHandler):
    """Base of the methods that keep a radius of its own for every training sample.

    The radii are in :attr:`margins`; put the table into the ``save_dict`` of ``CheckpointSaver`` and the ``load_dict``
    of ``CheckpointLoader``. Margins that were loaded are refused when they turn out to be of another data set.

    Scalars in ``engine.state.metrics``: ``{name}/margin_mean`` and ``{name}/margin_max_fraction`` (share of the margins
    at ε_max).

    Args:
        margins: the table, empty or not.
        criterion: see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.
    """

    def __init__(
        self,
        margins: MarginTable,
        criterion: Criterion | None,
        bounds: Sequence[float] | None,
        sample_key: str | None,
        start_epoch: int,
        attack_mode: str,
        seed: int,
    ) -> None:
        super().__init__(criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        self.margins = margins
        self.proposals = RadiusAccumulator()
        self._margins_checked = False
        self._unknown_ids: set[str] = set()

    def epoch_start(self, engine: SupervisedTrainer) -> None:
        super().epoch_start(engine)
        self.proposals = RadiusAccumulator()
        self._margins_checked |= len(self.margins) == 0

    def epoch_end(self, engine: SupervisedTrainer) -> None:
        """Move the margins (:meth:`update_margins`) and note what they are."""
        self._margins_checked = any(gather_all(self._margins_checked))
        if not self._margins_checked:
            self._refuse_margins()
        self.update_margins(engine)
        margins = self.margins.values()
        self.note("margin_mean", float(margins.sum()), len(margins))
        self.note("margin_max_fraction", float((margins >= self.margins.eps_max).sum()), len(margins))

    def update_margins(self, engine: SupervisedTrainer) -> None:
        """Give every sample the mean of the radii that the epoch's batches proposed for it (:attr:`proposals`).

        Called once after an epoch's last batch; every process has the same margins afterwards.
        """
        for sample_id, eps in self.proposals.merged().items():
            self.margins[sample_id] = eps

    def check_known(self, sample_ids: Sequence[str]) -> None:
        """Count the samples that come by until one of them has a margin.

        Raises:
            ValueError: when there are margins, but none of the first hundred samples has one.
        """
        if self._margins_checked:
            return
        if any(sample_id in self.margins for sample_id in sample_ids):
            self._margins_checked = True
            return
        self._unknown_ids.update(sample_ids)
        if len(self._unknown_ids) >= MAX_UNKNOWN_IDS:
            self._refuse_margins()

    def subset_loss(self, engine: SupervisedTrainer, criterion: IMALoss, part: Batch, whole: Batch) -> torch.Tensor:
        """The loss of the samples that a method trains on, divided by the size of the whole batch; 0 without any.

        Of IMA: Y_n of line 3 of its Algorithm 1, and line 7.

        Args:
            engine: the trainer.
            criterion: whose ``noisy`` is taken.
            part: samples of the batch, noisy or not; may be empty.
            whole: the clean batch.
        """
        size = len(whole.sample_ids)
        if part.sample_ids:
            alone = len(part.sample_ids) == 1
            with allow_single_value_batchnorm(engine.network) if alone else nullcontext():
                return criterion.noisy(part.predict(part.image), part.label, size)
        if _synchronizes(engine.network):
            one = whole.select([0])
            return 0 * criterion.noisy(one.predict(one.image), one.label, size)
        return torch.zeros((), device=whole.image.device)

    def _refuse_margins(self) -> None:
        raise ValueError(
            f"The {len(self.margins)} margins that were loaded (first id {self.margins.ids()[0]!r}) are of another "
            f"data set: this one has samples such as {min(self._unknown_ids)!r}, expected at least one known sample id."
        )


def _synchronizes(network: nn.Module) -> bool:
    """Every process must run every forward pass, or the others wait for it forever."""
    return idist.get_world_size() > 1 and any(isinstance(m, nn.SyncBatchNorm) for m in network.modules())
