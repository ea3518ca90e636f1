from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

__all__ = ["SharedTracking"]


class SharedTracking:
    """Lets an evaluator under attack write into the MLflow run of the clean evaluator.

    ``python -m monai.bundle run --tracking mlflow`` gives an ``MLFlowHandler`` to a bundle's trainer and to one
    evaluator. This one, among the handlers of the robust evaluator, gives it that evaluator's handler too; metrics are
    told apart by their names. Without ``--tracking`` it does nothing.

    Args:
        handlers: of the clean evaluator.
        evaluator: the clean evaluator, where its handler closes the run at its end: the robust evaluator, which is
            built before and runs after it, closes it then.

    Example:
        >>> SharedTracking(handlers=[]).attach(Engine(lambda engine, batch: None))
    """

    def __init__(self, handlers: Sequence[Any], evaluator: Engine | None = None) -> None:
        self.trackers = [handler for handler in handlers if isinstance(handler, MLFlowHandler)]
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Track an evaluator.

        Args:
            engine: the robust evaluator.
        """
        for tracker in self.trackers:
            if self.evaluator is not None and tracker.close_on_complete:
                self.evaluator.remove_event_handler(tracker.close, Events.COMPLETED)
            tracker.attach(engine)
