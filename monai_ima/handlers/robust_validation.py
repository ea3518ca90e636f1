from __future__ import annotations

import logging
import math
import os
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from monai_ima.margins import MarginTable
from monai_ima.utils.checks import check_finite_number, check_instance
from monai_ima.utils.distributed import rank
from monai_ima.utils.metric_names import robust_name

from .best_weights import BestWeights, better, key_metric
from .validation_progress import validation_progress

__all__ = ["RobustValidation"]

logger = logging.getLogger(__name__)


class RobustValidation:
    """Validates under attack after every clean validation, and keeps the most robust weights.

    Weights are kept when the robust evaluator's key metric is the best so far **and** the clean evaluator's key metric
    is not worse than ``min_clean``: the paper's rule that robustness must not be paid for by too much accuracy. Better
    means what the robust evaluator's ``metric_cmp_fn`` says. Writes ``{name}.pt`` (weights, flat) and, with margins,
    ``{name}_margins.pt``.

    On a terminal each run under attack shows samples, ε, attack and remaining time.

    The robust key metric appears in the trainer's ``state.metrics`` as ``val_robust_...`` (``robust_...`` where the
    clean name does not begin with ``val_``), where its TensorBoard and MLflow handlers find it. Put this handler
    into the ``save_dict`` of a checkpoint: a resumed run compares with the best so far.

    Args:
        evaluator: validates without noise; whoever runs it, the robust evaluator follows.
        robust_evaluator: validates under attack; both have a key metric.
        network: whose weights are kept.
        folder: where files are written.
        name: of the files, without ``.pt``.
        min_clean: what the clean key metric must reach; None for no limit.
        margins: kept beside the weights.

    Example:
        >>> evaluators = [Evaluator("cpu", [], epoch_length=1) for _ in range(2)]
        >>> RobustValidation(*evaluators, nn.Linear(1, 1), "models", "model", min_clean=0.85).weights.file.name
        'model.pt'
    """

    def __init__(
        self,
        evaluator: Evaluator,
        robust_evaluator: Evaluator,
        network: nn.Module,
        folder: str | os.PathLike,
        name: str,
        min_clean: float | None = None,
        margins: MarginTable | None = None,
    ) -> None:
        for argument, value in (("evaluator", evaluator), ("robust_evaluator", robust_evaluator)):
            check_instance(argument, value, Evaluator, "an evaluator of MONAI")
        self.evaluator = evaluator
        self.robust_evaluator = robust_evaluator
        self.weights = BestWeights(network, folder, name, margins)
        self.min_clean = None if min_clean is None else check_finite_number("min_clean", min_clean)
        self.cleanest: float | None = None

    @property
    def best(self) -> float | None:
        """The robust key metric of the weights that are kept; None as long as there are none."""
        return self.weights.best

    def attach(self, engine: Engine) -> None:
        """Hook into the end of the clean evaluator's runs and of training.

        Args:
            engine: the trainer.
        """
        self.evaluator.add_event_handler(Events.COMPLETED, self, engine)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def __call__(self, engine: Engine, trainer: Engine) -> None:
        """Validate under attack and keep the weights where they are the best so far.

        Args:
            engine: the clean evaluator, just run.
            trainer: whose metrics take in the robust one.

        Raises:
            ValueError: when an evaluator has no key metric.
        """
        epoch = engine.state.epoch
        with validation_progress(self.robust_evaluator):
            self.robust_evaluator.run(epoch)
        clean, robust = key_metric(self.evaluator), key_metric(self.robust_evaluator)
        robust_metric = robust_name(self.robust_evaluator.state.key_metric_name)
        trainer.state.metrics[robust_metric] = robust
        if better(self.robust_evaluator, clean, self.cleanest):
            self.cleanest = clean
        if rank() == 0:
            name = self.evaluator.state.key_metric_name
            logger.info(f"Epoch {epoch}: clean {name} {clean:.4f}, under attack {robust:.4f}.")
        if self._clean_enough(clean) and better(self.robust_evaluator, robust, self.weights.best):
            self.weights.keep(robust, epoch, robust_metric)

    def report(self, engine: Engine) -> None:
        """Say at the end of training which weights were kept, or that none were."""
        if rank() > 0:
            return
        best, file = self.weights.best, self.weights.file
        if best is not None:
            logger.info(f"Best under attack: {best:.4f} in epoch {self.weights.best_epoch}, weights in {file}.")
        elif self.cleanest is not None and not self._clean_enough(self.cleanest):
            logger.warning(
                f"No weights were kept in {file}: the best clean metric was {self.cleanest:.4f}, "
                f"expected {self.min_clean:g} (min_clean)."
            )
        else:
            logger.warning(f"No weights were kept in {file}: no validation gave finite key metrics.")

    def state_dict(self) -> dict[str, Any]:
        """The best metric so far and its epoch."""
        return {**self.weights.state_dict(), "cleanest": self.cleanest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved best metric."""
        self.weights.load_state_dict(state)
        self.cleanest = state["cleanest"]

    def _clean_enough(self, clean: float) -> bool:
        enough = self.min_clean is None or not self.robust_evaluator.metric_cmp_fn(self.min_clean, clean)
        return enough and not math.isnan(clean)
