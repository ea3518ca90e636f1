from __future__ import annotations

import inspect
from typing import Any, ClassVar

from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys

from monai_ima.margins import MarginTable
from monai_ima.methods import MethodSettings, PerSampleMethod, TrainingMethod
from monai_ima.utils.distributed import reduced
from monai_ima.utils.errors import SampleError
from monai_ima.utils.signatures import named_settings
from monai_ima.utils.tensors import plain

from .engine_access import autocast, without_loss
from .training_batches import TrainingBatches

__all__ = ["AdversarialTrainingHandler"]


class AdversarialTrainingHandler:
    """Base of the handlers that run a training method in a MONAI ``SupervisedTrainer``.

    ============================================ =======================================================================
    event                                        what happens
    ============================================ =======================================================================
    ``Events.EPOCH_STARTED``                     the method begins an epoch (:meth:`TrainingMethod.begin_epoch`)
    ``IterationEvents.FORWARD_COMPLETED``        the clean batch is checked and scored (:meth:`TrainingMethod.check`)
    ``IterationEvents.LOSS_COMPLETED``           the loss is replaced (:meth:`TrainingMethod.loss`), before ``backward``
    ``Events.ITERATION_COMPLETED``, the last one the method ends the epoch (:meth:`TrainingMethod.end_epoch`)
    ``TERMINATE_SINGLE_EPOCH``, EPOCH_COMPLETED  the same, for an epoch that ended early; checkpoints come after it
    ============================================ =======================================================================

    The trainer's backward, mixed precision, gradient accumulation, schedulers, checkpoints and
    ``DistributedDataParallel`` go on as they are; noisy samples go through ``engine.inferer`` and the unwrapped
    network. The method's scalars go into ``engine.state.metrics`` as ``{method.name}/...``, where ``StatsHandler``,
    ``TensorBoardStatsHandler`` and ``MLFlowHandler`` find them.

    For a method of one's own this is enough:

        >>> class MyHandler(AdversarialTrainingHandler, method=TrainingMethod): ...

    Args:
        arguments: of the method.
        sample_key: key of the sample ids in a batch; None means ``"sample_id"``, else the image file's name.
        settings: of the method.

    Raises:
        ValueError: if a setting is out of its range.
    """

    method_class: ClassVar[type[TrainingMethod]]

    def __init_subclass__(cls, method: type[TrainingMethod], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.method_class = method
        sample_key = inspect.Parameter("sample_key", inspect.Parameter.KEYWORD_ONLY, default=None)
        arguments = named_settings(method.__init__, TrainingMethod.__init__, MethodSettings)
        cls.__signature__ = inspect.Signature([*arguments, sample_key])  # type: ignore[attr-defined]

    def __init__(self, *arguments: Any, sample_key: str | None = None, **settings: Any) -> None:
        self.method = self.method_class(*arguments, **settings)
        self.batches = TrainingBatches(sample_key)
        self._epoch_finished = self._called = False
        self._iterations = self._resumed_at = 0

    @property
    def margins(self) -> MarginTable:
        """The method's margins, for ``save_dict`` and ``load_dict`` of MONAI's checkpoint handlers."""
        if not isinstance(self.method, PerSampleMethod):
            raise AttributeError(f"{type(self).__name__} keeps no margins.")
        return self.method.margins

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer.

        Args:
            engine: a ``SupervisedTrainer`` or a subclass of it.

        Raises:
            TypeError: if it is another engine.
            ValueError: if the method goes through every sample by itself, and the trainer's loader reads a stream.
        """
        if not isinstance(engine, SupervisedTrainer):
            raise TypeError(
                f"{type(self).__name__} was attached to a {type(engine).__name__}, expected a SupervisedTrainer."
            )
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_start)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.check)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._last_iteration)
        engine.add_event_handler(Events.TERMINATE_SINGLE_EPOCH | Events.EPOCH_COMPLETED, self._finish_epoch)
        self.batches.attach(engine, self.method.makes_passes, self.method.output)

    def epoch_start(self, engine: SupervisedTrainer) -> None:
        """Begin an epoch."""
        self._epoch_finished = self._called = False
        self._iterations, self._resumed_at = self._resumed_at, 0
        self.batches.begin_epoch()
        with autocast(engine):
            self.method.begin_epoch(engine.state.epoch, engine.state.max_epochs, self.batches)

    def check(self, engine: SupervisedTrainer) -> None:
        """Refuse a batch that training must not see.

        Raises:
            ValueError: if it has no labels, or :meth:`TrainingMethod.check` refuses a sample, which is named.
        """
        image, label, prediction = (
            engine.state.output[key] for key in (CommonKeys.IMAGE, CommonKeys.LABEL, CommonKeys.PRED)
        )
        self.batches.check_labels(engine.state.batch, image, label)
        try:
            self.method.check(plain(image), prediction, plain(label))
        except SampleError as error:
            raise error.named(self.batches.sample_ids(engine.state.batch, image)) from None

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Replace the loss of the clean batch in ``engine.state.output`` (line 1 of IMA's Algorithm 1)."""
        if not self.method.active:
            return
        self._called = True
        output = engine.state.output
        clean = output[CommonKeys.PRED], engine.loss_function, output[CommonKeys.LOSS]
        output[CommonKeys.LOSS] = reduced(engine.network, self.method.loss(self.batches.current(), *clean))

    def _start(self, engine: SupervisedTrainer) -> None:
        length = engine.state.epoch_length
        self._resumed_at = engine.state.iteration % length if length else 0

    def _last_iteration(self, engine: SupervisedTrainer) -> None:
        self._iterations += 1
        if self._iterations == engine.state.epoch_length:
            self._finish_epoch(engine)

    def _finish_epoch(self, engine: SupervisedTrainer, iter_counter: int = 0) -> None:
        if not self.method.active or self._epoch_finished:
            return
        self._epoch_finished = True
        if not self._called:
            raise without_loss(type(self).__name__, engine, self._iterations)
        with autocast(engine):
            scalars = self.method.end_epoch(self.batches)
        engine.state.metrics |= {f"{self.method.name}/{name}": value for name, value in scalars.items()}
