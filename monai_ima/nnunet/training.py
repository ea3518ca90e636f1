from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from monai_ima.methods.base import TrainingMethod
from monai_ima.methods.per_sample import PerSampleMethod
from monai_ima.utils.batch import Batch
from monai_ima.utils.errors import SampleError
from monai_ima.utils.predictor import Predictor, unwrap

from .labels import FULL, as_heads, heads_loss, judged_label, patch_criterion
from .methods import PatchIMA, PatchPGD
from .precision import own_samples_only
from .settings import from_environment, resumed

__all__ = ["AdversarialNNUNetTrainer", "nnUNetTrainerIMA", "nnUNetTrainerPGD"]

STATE = "monai_ima"
"""Key of nnU-Net's checkpoint."""


class AdversarialNNUNetTrainer(nnUNetTrainer):
    """Base of nnU-Net trainers whose training step takes a training method's loss; nothing else of the recipe changes.

    A sample is a patch, its id the key of its case. nnU-Net's own step runs, with autocast, gradient scaling and
    clipping as they are, on the loss that :attr:`method` makes of the trainer's; attacks and noisy samples go through
    the unwrapped network, their loss is the trainer's on all heads. ε is in the units of nnU-Net's normalised images.

    A setting is a class attribute, or the environment variable ``MONAI_IMA_`` and its name in capitals, which goes
    first. A resumed training (``--c``) goes on with the settings and margins of its checkpoint.

    Attributes:
        norm: ``"l2"`` or ``"linf"``.
        beta: β, weight of the noisy samples, in [0, 1].
        steps: N_PGD of the training attacks, >= 1.
        schedule: of the steps' lengths, ``"constant"`` as in the published results, or ``"cosine"``, which needs fewer
            (:class:`~monai_ima.methods.IMA`).
        threshold: τ: a patch is correct if its Dice reaches it (:class:`~monai_ima.criteria.DiceCriterion`).
        start_epoch: number of epochs of plain training before the method is active, >= 0.
        seed: of the attacks' random draws.

    Raises:
        ValueError: if a setting is out of its range, or the configuration is the second stage of a cascade (when the
            trainer is initialised).

    Example:
        >>> class Strong(nnUNetTrainerPGD):
        ...     eps = 20.0
        >>> Strong.eps, Strong.norm
        (20.0, 'l2')
    """

    names: ClassVar[tuple[str, ...]] = ("norm", "beta", "steps", "schedule", "threshold", "start_epoch", "seed")

    norm: str = "l2"
    beta: float = 0.5
    steps: int = 20
    schedule: str = "constant"
    threshold: float | str = "relative:0.9"
    start_epoch: int = 0
    seed: int = 0

    method: TrainingMethod
    loss: Callable[[Any, Any], torch.Tensor]

    def build_method(self, criterion: Any, **settings: Any) -> TrainingMethod:
        """The method of these settings, all of :attr:`names` but ``threshold``.

        Args:
            criterion: says which patches are correct.
            settings: by name.
        """
        raise NotImplementedError

    def initialize(self) -> None:
        """Build the method, then what nnU-Net builds."""
        if self.is_cascaded:
            raise ValueError(
                f"Configuration {self.configuration_name} takes the segmentation of {self._previous_stage()} as input, "
                f"expected one without a previous stage for {type(self).__name__}."
            )
        given = {name: getattr(self, name) for name in self.names}
        self._use({**given, **from_environment(self.names)})
        super().initialize()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.method.begin_epoch(self.current_epoch + 1, self.num_epochs)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step with the method's loss in place of the trainer's."""
        image = batch["data"].to(self.device, non_blocking=True)
        own, ids = self.loss, [str(key) for key in batch["keys"]]
        self.loss = _PatchLoss(self.method, own, self.label_manager, unwrap(self.network), image, ids)
        try:
            return super().train_step({**batch, "data": image})
        finally:
            self.loss = own

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(train_outputs)
        scalars = self.method.end_epoch()
        if scalars:
            listed = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            self.print_to_log_file(f"{self.method.name}: {listed}")

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint with the method's settings and margins, there whole or not at all."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        unfinished = f"{filename}.part"
        super().save_checkpoint(unfinished)
        # Not weights_only, here and below: nnU-Net keeps NumPy objects in its files, and reads them like this.
        checkpoint = torch.load(unfinished, map_location="cpu", weights_only=False)
        torch.save({**checkpoint, STATE: self._state()}, unfinished)
        return os.replace(unfinished, filename)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Take over nnU-Net's part and the method's.

        Args:
            filename_or_checkpoint: a file.

        Raises:
            ValueError: if the file is of another trainer, or a variable gives another setting than the file's.
        """
        super().load_checkpoint(filename_or_checkpoint)
        checkpoint = torch.load(filename_or_checkpoint, map_location="cpu", weights_only=False, mmap=True)
        state = checkpoint.get(STATE)
        if state is None or state["method"] != self.method.name:
            raise ValueError(
                f"Checkpoint {filename_or_checkpoint} is of {checkpoint.get('trainer_name')}, expected one of "
                f"{type(self).__name__}; a start from other weights is -pretrained_weights."
            )
        self._use(resumed(state["settings"], from_environment(self.names)))
        if isinstance(self.method, PerSampleMethod):
            self.method.margins.load_state_dict(state["margins"])

    def _use(self, settings: dict[str, Any]) -> None:
        self.used = settings
        rest = {name: value for name, value in settings.items() if name != "threshold"}
        self.method = self.build_method(patch_criterion(self.label_manager, settings["threshold"]), **rest)
        self.print_to_log_file(f"{self.method.name}: {', '.join(f'{name} {v}' for name, v in settings.items())}")

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"method": self.method.name, "settings": self.used}
        if isinstance(self.method, PerSampleMethod):
            state["margins"] = self.method.margins.state_dict()
        return state

    def _previous_stage(self) -> str:
        return str(self.configuration_manager.previous_stage_name)


class nnUNetTrainerIMA(AdversarialNNUNetTrainer):
    """nnU-Net with Increasing-Margin Adversarial training (:class:`~monai_ima.methods.IMA`), margins moved online.

    A case has one margin, which the training attacks on its patches move at the end of every epoch. The defaults are
    those of the published results on the hippocampus. Further settings: see :class:`AdversarialNNUNetTrainer`.

    Attributes:
        eps_max: ε_max, largest margin, > 0.
        delta: δ, smallest margin and expansion step, in (0, eps_max].

    Example:
        >>> class nnUNetTrainerIMA_heart(nnUNetTrainerIMA):
        ...     eps_max, delta = 25.0, 5.0
        >>> nnUNetTrainerIMA_heart.eps_max, nnUNetTrainerIMA_heart.steps
        (25.0, 20)
    """

    names = ("eps_max", "delta", *AdversarialNNUNetTrainer.names)
    eps_max: float = 10.0
    delta: float = 2.0

    def build_method(self, criterion: Any, **settings: Any) -> TrainingMethod:
        return PatchIMA(**settings, update="online", criterion=criterion, output=FULL)


class nnUNetTrainerPGD(AdversarialNNUNetTrainer):
    """nnU-Net with adversarial training at one fixed ε (:class:`~monai_ima.methods.PGDTraining`).

    Further settings: see :class:`AdversarialNNUNetTrainer`.

    Attributes:
        eps: ε, radius of every patch's ball, > 0.

    Example:
        >>> nnUNetTrainerPGD.eps, nnUNetTrainerPGD.beta
        (5.0, 0.5)
    """

    names = ("eps", *AdversarialNNUNetTrainer.names)
    eps: float = 5.0

    def build_method(self, criterion: Any, **settings: Any) -> TrainingMethod:
        return PatchPGD(**settings, criterion=criterion, output=FULL)


@dataclass(frozen=True)
class _PatchLoss:
    """The method's loss of one batch, called as the trainer's own."""

    method: TrainingMethod
    own: Callable[[Any, Any], torch.Tensor]
    label_manager: Any
    network: nn.Module
    image: torch.Tensor
    sample_ids: list[str]

    def __call__(self, output: Any, target: Any) -> torch.Tensor:
        full = target if isinstance(target, torch.Tensor) else target[0]
        prediction, label = as_heads(output), as_heads(target, judged_label(full, self.label_manager))
        batch = Batch(Predictor(_named_outputs, self.network, len(self.image)), self.image, label, self.sample_ids)
        try:
            self.method.check(self.image, prediction, label)
        except SampleError as error:
            raise error.named(self.sample_ids) from None
        return self.method.loss(batch, prediction, self._noisy, self.own(output, target))

    def _noisy(self, prediction: Any, label: Any) -> torch.Tensor:
        with own_samples_only(self.own):
            return heads_loss(self.own, prediction, label)


def _named_outputs(image: torch.Tensor, network: nn.Module) -> dict[str, Any]:
    return as_heads(network(image))
