from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypedDict

import torch
from torch import nn

from monai_ima.attacks import Attack, AttackResult, AttackSettings, attack_mode
from monai_ima.attacks.execution import Execution
from monai_ima.criteria import ClassificationCriterion, Criterion, SegmentationCriterion, check_criterion
from monai_ima.losses import find_reduction
from monai_ima.perturbations import Perturbation
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import (
    MAX_SEED,
    check_bounds,
    check_channels,
    check_choice,
    check_count,
    check_instance,
    check_output,
)
from monai_ima.utils.distributed import gather_all, rank
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.outputs import OneOutput, Output, choose_label, choose_output
from monai_ima.utils.tensors import check_finite

__all__ = ["LossFunction", "MethodSettings", "TrainingMethod"]

logger = logging.getLogger(__name__)

LossFunction = Callable[[Any, Any], torch.Tensor]
"""``(prediction, label) -> tensor``, as a MONAI trainer takes it; of a tensor the mean counts."""


class MethodSettings(TypedDict, total=False):
    """The settings that all methods share, explained at :class:`TrainingMethod`.

    Example:
        >>> settings: MethodSettings = {"bounds": (0, 1), "seed": 3}
        >>> sorted(settings)
        ['bounds', 'seed']
    """

    criterion: Criterion | None
    bounds: Sequence[float] | None
    start_epoch: int
    attack_mode: str
    seed: int
    channels: Sequence[int] | None
    output: Output
    perturbation: Perturbation | None
    compile: bool
    memory_format: str | None
    autocast: str | None


class TrainingMethod(ABC):
    """Base of the training methods: what replaces a batch's loss, and what an epoch's end changes.

    A method knows no engine and no data set. The training loop, a handler of :mod:`monai_ima.handlers` or one's own,
    tells it of every epoch and asks it for every batch's loss::

        for epoch in range(1, epochs + 1):
            method.begin_epoch(epoch, epochs, training_set)
            for image, label, sample_ids in loader:
                prediction = network(image)
                loss = method.loss(Batch.of(network, image, label, sample_ids), prediction, loss_function)
                ...  # backward, optimizer
            scalars = method.end_epoch(training_set)

    ``training_set`` gives every training sample once, as batches (:class:`~monai_ima.utils.batch.Batch`), for methods
    that make a pass of their own over it. Under DDP every process calls the same methods, as often as the others.

    Args:
        criterion: says when a prediction is correct; None means :class:`ClassificationCriterion`.
        bounds: valid intensities ``(lo, hi)`` in the network's units; None for no limit (z-scored images).
        start_epoch: number of epochs of plain training before the method is active, >= 0.
        attack_mode: ``"eval"`` or ``"train"``, the network's mode under attack.
        seed: of the attacks' random starts, >= 0.
        channels: of the image that noise may change; None means all.
        output: index or key of the network's output that is judged and attacked, where it returns several; None: the
            first. The trainer's loss gets them all. Of a dictionary of labels that of the same key goes with it.
        perturbation: what every ε of the method measures, such as ``BiasField()``: radii and margins are in its unit,
            and ``norm`` says nothing. None means noise that is added pixel by pixel.
        compile: of the attacks: run the network through ``torch.compile`` (:class:`~monai_ima.attacks.Attack`).
        memory_format: of the attacks: ``"channels_last"`` or None.
        autocast: of the attacks: ``"bfloat16"``, ``"float16"``, or None for the precision that training has.

    Raises:
        ValueError: if a number is out of its range, ``bounds`` do not rise, ``attack_mode`` is another name,
            ``channels`` are no different integers >= 0, ``output`` can name none, or ``memory_format`` or
            ``autocast`` is another name.
        TypeError: if ``criterion`` or ``perturbation`` is none.

    Example:
        >>> class Halved(TrainingMethod):
        ...     name = "halved"
        ...     def adversarial_loss(self, batch, prediction, loss_function, clean_loss):
        ...         return clean_loss / 2
        >>> method = Halved(start_epoch=1)
        >>> method.begin_epoch(2, 10)
        >>> batch = Batch.of(nn.Identity(), torch.rand(1, 2), torch.tensor([1]), ["a"])
        >>> method.loss(batch, batch.image, lambda prediction, label: torch.tensor(1.0))
        tensor(0.5000)
    """

    name: str
    """Prefix of its scalars where a handler logs them."""

    def __init__(
        self,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
        channels: Sequence[int] | None = None,
        output: Output = None,
        perturbation: Perturbation | None = None,
        compile: bool = False,
        memory_format: str | None = None,
        autocast: str | None = None,
    ) -> None:
        self.attack_mode = check_choice("attack mode", attack_mode, ("eval", "train"))
        self.criterion = ClassificationCriterion() if criterion is None else check_criterion(criterion)
        self.bounds = check_bounds(bounds)
        self.start_epoch = check_count("start_epoch", start_epoch, 0)
        self.seed = check_count("seed", seed, 0, MAX_SEED)
        self.channels = check_channels(channels)
        self.output = check_output(output)
        if perturbation is not None:
            check_instance("perturbation", perturbation, Perturbation, "a perturbation such as BiasField()")
        self.perturbation = perturbation
        self.execution = Execution(compile, memory_format, autocast)
        self.epoch = 0
        self.clean_score = torch.empty(0)
        self.labelled = torch.empty(0, dtype=torch.bool)
        self._sums: dict[str, tuple[float, float]] = {}
        self._correct = self._seen = 0
        self._warned_of_none_correct = False
        self._loss_sums: bool | None = None

    @property
    def active(self) -> bool:
        """The epochs of plain training are over."""
        return self.epoch > self.start_epoch

    @property
    def attack_settings(self) -> AttackSettings:
        """What the method's settings say of its attacks."""
        return {
            "bounds": self.bounds,
            "channels": self.channels,
            "criterion": self.criterion,
            "perturbation": self.perturbation,
            **vars(self.execution),
        }

    @property
    def makes_passes(self) -> bool:
        """It goes through ``training_set`` by itself, outside the training's batches."""
        return False

    def begin_epoch(self, epoch: int, epochs: int, training_set: Iterable[Batch] = ()) -> None:
        """Called before an epoch's first batch.

        Args:
            epoch: from 1 on; a resumed training continues to count.
            epochs: number of epochs of the whole training, >= 1.
            training_set: every training sample once, as batches.
        """
        self.epoch = check_count("epoch", epoch, 1)
        check_count("epochs", epochs, 1)
        self._sums.clear()
        self._correct = self._seen = 0

    def check(self, image: torch.Tensor, prediction: Any, label: Any) -> None:
        """Refuse a batch that training must not see, and score its predictions (line 2 of IMA's Algorithm 1).

        ``labelled`` tells afterwards which samples have a label that is not ignored, ``clean_score`` is NaN without.

        Args:
            image: ``[B, C, *spatial]``, clean.
            prediction: the network's, with all its outputs.
            label: one row per sample.

        Raises:
            SampleError: if an image or a prediction is not finite, or a label is not a class.
            ValueError: if the network has no output of the name that counts, or it is on another grid than the label.
        """
        label = choose_label(label, self.output)
        logits = choose_output(prediction, self.output, label).detach()
        check_finite(image, "an image")
        check_finite(logits, "a prediction")
        self.clean_score = self.criterion.score(logits, label)
        self.labelled = self.criterion.labelled(logits, label)

    def loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss to train with, a scalar; the loss of the clean batch as long as the method is not active.

        Where all labels of a batch are ignored, a mean over none of them (NaN) is 0.

        Args:
            batch: clean.
            prediction: the network's for the clean batch, with its graph.
            loss_function: the trainer's.
            clean_loss: ``loss_function`` of the clean batch, where the caller has it and has called :meth:`check`.

        Raises:
            ValueError: if a sample is refused (:meth:`check`) or cannot be attacked; the sentence names it.
        """
        try:
            if clean_loss is None:
                self.check(batch.image, prediction, batch.label)
                clean_loss = loss_function(prediction, batch.label).mean()
            if not self.active:
                return clean_loss
            if not self.labelled.any():
                clean_loss = clean_loss.nan_to_num(nan=0.0)
            self.note_loss("loss_clean", clean_loss)
            self._count_correct()
            loss = self.adversarial_loss(batch, prediction, loss_function, clean_loss)
            return loss if self.labelled.any() else loss.nan_to_num(nan=0.0)
        except SampleError as error:
            raise error.named(batch.sample_ids) from None

    def end_epoch(self, training_set: Iterable[Batch] = ()) -> dict[str, float]:
        """Called once after an epoch's last batch: moves what the method remembers.

        Args:
            training_set: every training sample once, as batches.

        Returns:
            the epoch's scalars, over all processes; none as long as the method is not active. ``loss_clean``, the mean
            of the clean batches' losses, is one of them.
        """
        if not self.active:
            return {}
        self.update(training_set)
        gathered: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        parts = gather_all((self._sums, self._correct, self._seen))
        self._warn_of_none_correct(sum(part[1] for part in parts), sum(part[2] for part in parts))
        for part, *_ in parts:
            for name, (total, count) in part.items():
                gathered[name][0] += total
                gathered[name][1] += count
        return {name: total / count if count else 0.0 for name, (total, count) in gathered.items()}

    @abstractmethod
    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        """The loss to train with in place of ``clean_loss``; arguments as for :meth:`loss`."""

    def update(self, training_set: Iterable[Batch]) -> None:  # noqa: B027
        """Move what the method remembers of the samples, at the end of an epoch."""

    def attack_batch(
        self,
        attack: Attack,
        batch: Batch,
        eps: float | torch.Tensor,
        purpose: str = "training",
        criterion: Criterion | None = None,
    ) -> AttackResult:
        """Attack a batch, every sample with a random stream of its own.

        Args:
            attack: the attack.
            batch: clean.
            eps: radius of the balls, one for all or ``[B]``.
            purpose: of the random streams, which are the same in a resumed training.
            criterion: in place of the attack's.
        """
        with self.under_attack(batch):
            predict = batch.predict if self.output is None else OneOutput(batch.predict, self.output)
            label = choose_label(batch.label, self.output)
            streams = self.generators(batch, purpose)
            return attack(predict, batch.image, label, eps, streams, criterion, batch.spacing)

    def noisy(self, batch: Batch, result: AttackResult, rows: torch.Tensor | None = None) -> Batch:
        """The samples that an attack on a batch made, with the labels that hold for them.

        Args:
            batch: clean.
            result: of the attack.
            rows: int ``[n]``, those that are taken; None: all.

        Raises:
            ValueError: if voxels move and the labels are several, in a dictionary.
        """
        rows = torch.arange(len(batch.image), device=batch.image.device) if rows is None else rows
        chosen = batch.select(rows)
        label = chosen.label
        if result.label is not None:
            if not isinstance(label, torch.Tensor):
                raise ValueError("Got several labels and a perturbation that moves voxels, expected one label map.")
            label = result.label[rows]
        return replace(chosen, image=result.image[rows], label=label)

    def under_attack(self, batch: Batch) -> AbstractContextManager[None]:
        """The context that attacks on a batch run in: the network's mode is set, and restored afterwards."""
        network = batch.predict.network
        return attack_mode(network, self.attack_mode) if isinstance(network, nn.Module) else nullcontext()

    def generators(self, batch: Batch, purpose: str) -> list[torch.Generator]:
        """A random stream for each sample, for one purpose in this epoch; the same in a resumed training."""
        return per_sample_generators(f"{self.seed}/{self.epoch}/{purpose}", batch.sample_ids)

    def sums(self, loss_function: LossFunction, prediction: Any, batch: Batch) -> bool | None:
        """The trainer's loss adds samples up: found out, and told of, on the first batch that can tell; else None."""
        if self._loss_sums is None:
            found = find_reduction(loss_function, prediction, batch.label, len(batch.sample_ids))
            if found is not None:
                self._loss_sums = found.sums
                if rank() == 0:
                    logger.info(found.describe())
        return self._loss_sums

    def note(self, name: str, total: float, count: float) -> None:
        """Add to the scalar ``name``, which is ``sum(total) / sum(count)`` over an epoch."""
        before = self.scalar(name)
        self._sums[name] = (before[0] + float(total), before[1] + count)

    def note_loss(self, name: str, loss: torch.Tensor) -> None:
        """Add a batch's loss to the scalar ``name``, unless all labels of the batch are ignored."""
        if self.labelled.any():
            self.note(name, loss.item(), 1)

    def scalar(self, name: str) -> tuple[float, float]:
        """Sum and count of what this process has noted under ``name`` in this epoch."""
        return self._sums.get(name, (0.0, 0.0))

    def _count_correct(self) -> None:
        """Count the correct samples of a clean batch, where the criterion knows its threshold."""
        if getattr(self.criterion, "awaits_baseline", False):
            return
        self._correct += int(self.criterion.decide(self.clean_score).sum())
        self._seen += len(self.clean_score)

    def _warn_of_none_correct(self, correct: int, seen: int) -> None:
        """Warn once of an epoch, of all processes together, without a correct sample."""
        if self._warned_of_none_correct or correct > 0 or seen == 0:
            return
        self._warned_of_none_correct = True
        if rank() == 0:
            criterion = type(self.criterion).__name__
            if isinstance(self.criterion, SegmentationCriterion):
                criterion += f", threshold {self.criterion.describe()}"
            counts = "the first" if self.output is None else f"output={self.output!r}"
            logger.warning(
                f"None of {seen} samples was correct without noise in epoch {self.epoch}, and what is not correct has "
                f"no boundary: unless the network has hardly been trained, look at the criterion ({criterion}), at "
                f"which of the network's outputs counts ({counts}), and at the labels."
            )
