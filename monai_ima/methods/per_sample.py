from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Unpack

import torch
from torch import nn

from monai_ima.attacks import Attack, AttackResult, allow_single_value_batchnorm
from monai_ima.attacks.channels import attacked_channels
from monai_ima.losses import IMALoss
from monai_ima.margins import MarginTable, RadiusAccumulator
from monai_ima.utils.batch import Batch
from monai_ima.utils.distributed import gather_all, world_size

from .base import MethodSettings, TrainingMethod

__all__ = ["PerSampleMethod"]

MAX_UNKNOWN_IDS = 100
"""Margins are refused once that many different samples have come and none of them has a margin."""


class PerSampleMethod(TrainingMethod):
    """Base of the methods that keep a radius for every training sample.

    The radii are in :attr:`margins`, which belongs into a checkpoint. Margins that were loaded are refused when they
    turn out to be of another data set. Scalars: ``margin_mean`` and ``margin_max_fraction`` (share of the margins at
    ε_max).

    Args:
        margins: the margin table.
        settings: see :class:`TrainingMethod`.

    Example:
        >>> class Fixed(PerSampleMethod):
        ...     name = "fixed"
        ...     def adversarial_loss(self, batch, prediction, loss_function, clean_loss):
        ...         self.radii.record(batch.sample_ids, torch.full((len(batch.image),), 0.5))
        ...         return clean_loss
        >>> method = Fixed(MarginTable(eps_max=1.0, delta=0.1))
        >>> method.begin_epoch(1, 1)
        >>> batch = Batch.of(nn.Identity(), torch.rand(1, 2), torch.tensor([1]), ["a"])
        >>> _ = method.loss(batch, batch.image, nn.CrossEntropyLoss())
        >>> method.end_epoch()["margin_mean"]
        0.5
    """

    def __init__(self, margins: MarginTable, **settings: Unpack[MethodSettings]) -> None:
        super().__init__(**settings)
        self.margins = margins
        self.radii = RadiusAccumulator()
        self._margins_checked = False
        self._unknown_ids: set[str] = set()

    def begin_epoch(self, epoch: int, epochs: int, training_set: Iterable[Batch] = ()) -> None:
        super().begin_epoch(epoch, epochs, training_set)
        self.radii = RadiusAccumulator()
        self._margins_checked |= len(self.margins) == 0

    def update(self, training_set: Iterable[Batch]) -> None:
        """Move the margins (:meth:`update_margins`) and note what they are."""
        self._margins_checked = any(gather_all(self._margins_checked))
        if not self._margins_checked:
            self._refuse_margins()
        self.update_margins(training_set)
        margins = self.margins.values()
        self.note("margin_mean", float(margins.sum()), len(margins))
        self.note("margin_max_fraction", float((margins >= self.margins.eps_max).sum()), len(margins))

    def update_margins(self, training_set: Iterable[Batch]) -> None:
        """Give every sample the mean of the radii that the epoch's batches found for it (:attr:`radii`).

        Every process has the same margins afterwards.
        """
        for sample_id, eps in self.radii.merged().items():
            self.margins[sample_id] = eps

    def check_known(self, sample_ids: Sequence[str]) -> None:
        """Count the samples that come until one of them has a margin.

        Raises:
            ValueError: if there are margins, but none of the first hundred samples has one.
        """
        if self._margins_checked:
            return
        if any(sample_id in self.margins for sample_id in sample_ids):
            self._margins_checked = True
            return
        self._unknown_ids.update(sample_ids)
        if len(self._unknown_ids) >= MAX_UNKNOWN_IDS:
            self._refuse_margins()

    def attack_batch(self, attack: Attack, batch: Batch, *arguments: Any, **named: Any) -> AttackResult:
        """Attack a batch (:meth:`TrainingMethod.attack_batch`), and note in the table what it is measured in."""
        if len(batch.image):
            channels = attacked_channels(attack.channels, batch.image)
            values = len(channels) * batch.image[0, 0].numel()
            self.margins.note_attack(attack.norm.name, values, attack.perturbation)
        return super().attack_batch(attack, batch, *arguments, **named)

    def subset_loss(self, ima_loss: IMALoss, subset: Batch, batch: Batch) -> torch.Tensor:
        """The loss of the samples that a method trains on, divided by the size of the whole batch; 0 without any.

        Of IMA: Y_n of line 3 of its Algorithm 1, and line 7.

        Args:
            ima_loss: its ``noisy`` is taken.
            subset: samples of the batch, noisy or clean; may be empty.
            batch: the clean batch.
        """
        network, size = batch.predict.network, len(batch.sample_ids)
        if subset.sample_ids:
            single = len(subset.sample_ids) == 1
            with allow_single_value_batchnorm(network) if single and isinstance(network, nn.Module) else nullcontext():
                return ima_loss.noisy(subset.predict(subset.image), subset.label, size)
        if _synchronizes(network):
            first = batch.select([int(self.labelled.int().argmax())])
            return 0 * ima_loss.noisy(first.predict(first.image), first.label, size)
        return torch.zeros((), device=batch.image.device)

    def _refuse_margins(self) -> None:
        raise ValueError(
            f"The {len(self.margins)} margins that were loaded (first id {self.margins.ids()[0]!r}) are of another "
            f"data set: this one has samples such as {min(self._unknown_ids)!r}, expected at least one known sample id."
        )


def _synchronizes(network: Any) -> bool:
    """Every process must run every forward pass, or the others wait for it forever."""
    layers = network.modules() if isinstance(network, nn.Module) else ()
    return world_size() > 1 and any(isinstance(layer, nn.SyncBatchNorm) for layer in layers)
