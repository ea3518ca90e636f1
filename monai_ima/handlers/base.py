from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys, convert_to_tensor

from monai_ima.attacks import attack_mode
from monai_ima.criteria import ClassificationCriterion, Criterion
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_bounds, check_count
from monai_ima.utils.distributed import gather_all
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import batch_files, batch_sample_ids, common_folder
from monai_ima.utils.tensors import check_finite, first_output

__all__ = ["AdversarialTrainingHandler"]


class AdversarialTrainingHandler(ABC):
    """Base of the handlers that turn a MONAI ``SupervisedTrainer`` into adversarial training.

    The handler acts on ``IterationEvents.LOSS_COMPLETED``, when image, label, prediction and loss of the clean batch
    are in ``engine.state.output`` and nothing has gone backward yet: it builds noisy samples, runs the network on them
    through ``engine.inferer`` and replaces the loss. The trainer's backward, mixed precision, gradient accumulation,
    schedulers, checkpoints and ``DistributedDataParallel`` go on as they are. A method says how its loss is made
    (:meth:`adversarial_loss`) and what happens at the end of an epoch (:meth:`epoch_end`).

    Epoch means of the scalars that a method notes go into ``engine.state.metrics`` as ``{name}/...``, where
    ``StatsHandler``, ``TensorBoardStatsHandler`` and ``MLFlowHandler`` find them. The end of an epoch is handled
    before any ``EPOCH_COMPLETED`` handler runs, so that a checkpoint holds the epoch's result whatever the order of
    the handlers.

    Args:
        criterion: says when a prediction is right; None means :class:`ClassificationCriterion`.
        bounds: valid intensities ``(lo, hi)`` in the network's units; None for no limit (z-scored images).
        sample_key: key of the sample ids in a batch; None means ``"sample_id"``, else the image file's name.
        start_epoch: number of epochs of plain training before the method sets in, >= 0.
        attack_mode: ``"eval"`` or ``"train"``, the network's mode under attack.
        seed: seed of the attacks' random starts.

    Raises:
        ValueError: when an argument is not as above.
    """

    name: str

    def __init__(
        self,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        if attack_mode not in ("eval", "train"):
            raise ValueError(f"Unknown attack mode {attack_mode!r}, expected 'eval' or 'train'.")
        self.criterion = ClassificationCriterion() if criterion is None else criterion
        self.bounds = check_bounds(bounds)
        self.sample_key = sample_key
        self.start_epoch = check_count("start_epoch", start_epoch, 0)
        self.attack_mode = attack_mode
        self.seed = check_count("seed", seed, 0)
        self._root: str | None = None
        self._files: dict[str, str] = {}
        self._sums: dict[str, tuple[float, float]] = {}
        self._epoch_finished = False
        self._called = False
        self._clean_score = torch.empty(0)

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer.

        Args:
            engine: a ``SupervisedTrainer`` or a subclass of it.

        Raises:
            TypeError: when it is another engine.
        """
        if not isinstance(engine, SupervisedTrainer):
            raise TypeError(
                f"{type(self).__name__} was attached to a {type(engine).__name__}, expected a SupervisedTrainer."
            )
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.check)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._last_iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)

    @abstractmethod
    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        """The loss to train with in place of ``loss``, the trainer's own on the clean batch."""

    def epoch_start(self, engine: SupervisedTrainer) -> None:
        """Called before an epoch's first batch."""
        self._epoch_finished = False
        self._called = False
        self._sums.clear()
        self._files.clear()
        if self._root is None:
            self._root = common_folder(getattr(engine.data_loader, "dataset", None))

    def epoch_end(self, engine: SupervisedTrainer) -> None:  # noqa: B027
        """Called once after an epoch's last batch, from the epoch on in which the method has set in."""

    def active(self, engine: SupervisedTrainer) -> bool:
        """The method has set in."""
        return engine.state.epoch > self.start_epoch

    def check(self, engine: SupervisedTrainer) -> None:
        """Refuse a batch that training must not see, and score its predictions (line 2 of IMA's Algorithm 1).

        Raises:
            ValueError: when an image or prediction is not finite or a label is outside the classes; the sentence names
                the sample.
        """
        output = engine.state.output
        image = _plain(output[CommonKeys.IMAGE])
        logits = first_output(output[CommonKeys.PRED]).detach()
        try:
            check_finite(image, "an image")
            check_finite(logits, "a prediction")
            self._clean_score = self.criterion.score(logits, _plain(output[CommonKeys.LABEL]))
        except SampleError as error:
            raise error.named(self.sample_ids(engine, engine.state.batch, output[CommonKeys.IMAGE])) from None

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Replace the loss of the clean batch in ``engine.state.output`` (line 1 of IMA's Algorithm 1)."""
        if not self.active(engine):
            return
        self._called = True
        output = engine.state.output
        image, label = output[CommonKeys.IMAGE], output[CommonKeys.LABEL]
        sample_ids = self.sample_ids(engine, engine.state.batch, image)
        prepared = engine.prepare_batch(
            engine.state.batch, engine.state.device, engine.non_blocking, **engine.to_kwargs
        )
        batch = Batch(_forward(engine, image, prepared), _plain(image), _plain(label), sample_ids)
        try:
            output[CommonKeys.LOSS] = self.adversarial_loss(engine, batch, output[CommonKeys.LOSS])
        except SampleError as error:
            raise error.named(sample_ids) from None

    def batch(self, engine: SupervisedTrainer, batchdata: Any) -> Batch:
        """A batch from the training loader, prepared as the trainer would."""
        prepared = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        image, label = prepared[:2]
        return Batch(
            _forward(engine, image, prepared), _plain(image), _plain(label), self.sample_ids(engine, batchdata, image)
        )

    def sample_ids(self, engine: SupervisedTrainer, batchdata: Any, image: torch.Tensor) -> list[str]:
        """The ids of a batch's samples.

        Raises:
            ValueError: when there are none, or when one id stands for two different files.
        """
        sample_ids = batch_sample_ids(batchdata, image, self.sample_key, self._root)
        for sample_id, file in zip(sample_ids, batch_files(image) or [], strict=False):
            if self._files.setdefault(sample_id, file) != file:
                raise ValueError(
                    f"Sample id {sample_id!r} is repeated: it stands for {self._files[sample_id]} and for {file}, "
                    "expected a different id for each file."
                )
        return sample_ids

    @property
    def clean_score(self) -> torch.Tensor:
        """The criterion's score of the trainer's predictions for the current clean batch: float ``[B]``."""
        return self._clean_score

    def under_attack(self, batch: Batch) -> AbstractContextManager[None]:
        """The context that attacks on a batch run in: the network's mode is set, and put back afterwards."""
        return attack_mode(batch.predict.network, self.attack_mode)

    def generators(self, engine: SupervisedTrainer, sample_ids: Sequence[str], purpose: str) -> list[torch.Generator]:
        """Random streams of the samples for one purpose in one epoch, the same in a resumed run."""
        return per_sample_generators(f"{self.seed}/{engine.state.epoch}/{purpose}", sample_ids, engine.state.device)

    def note(self, name: str, total: float, count: float) -> None:
        """Add to the scalar ``{self.name}/{name}``, which is ``sum(total) / sum(count)`` over an epoch."""
        before = self.scalar(name)
        self._sums[name] = (before[0] + float(total), before[1] + count)

    def scalar(self, name: str) -> tuple[float, float]:
        """Sum and count of what this process has noted under ``name`` in this epoch."""
        return self._sums.get(name, (0.0, 0.0))

    def _last_iteration(self, engine: SupervisedTrainer) -> None:
        length = engine.state.epoch_length
        if length is not None and engine.state.iteration % length == 0:
            self._finish_epoch(engine)

    def _finish_epoch(self, engine: SupervisedTrainer) -> None:
        if not self.active(engine) or self._epoch_finished:
            return
        self._epoch_finished = True
        if not self._called:
            raise ValueError(
                f"{type(self).__name__} was not called once in epoch {engine.state.epoch}, expected "
                f"{type(engine).__name__} to fire IterationEvents.LOSS_COMPLETED as SupervisedTrainer does."
            )
        self.epoch_end(engine)
        gathered: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for part in gather_all(self._sums):
            for name, (total, count) in part.items():
                gathered[name][0] += total
                gathered[name][1] += count
        for name, (total, count) in gathered.items():
            engine.state.metrics[f"{self.name}/{name}"] = total / count if count else 0.0


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return convert_to_tensor(tensor, track_meta=False)


def _forward(engine: SupervisedTrainer, image: torch.Tensor, prepared: tuple) -> Predictor:
    return Predictor.prepared(engine.inferer, unwrap(engine.network), len(image), prepared[2:])
