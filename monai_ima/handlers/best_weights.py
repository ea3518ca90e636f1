from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from monai_ima.margins import MarginTable
from monai_ima.utils.checks import check_instance, check_path
from monai_ima.utils.distributed import rank
from monai_ima.utils.files import whole_file
from monai_ima.utils.predictor import unwrap

__all__ = ["BestWeights"]

logger = logging.getLogger(__name__)


class BestWeights:
    """Keeps the weights of the epoch whose validation gave the best key metric.

    MONAI's ``CheckpointSaver(save_key_metric=True)`` with three differences: a resumed training compares with the best
    so far (put this handler into the checkpoint, see :class:`Resumable`), the older file lives until the new one is
    whole, and NaN is never the best. Better means what the evaluator's ``metric_cmp_fn`` says; of equal ones the first
    is kept. Writes ``{name}.pt`` (weights, flat) and, with margins, ``{name}_margins.pt``.

    Args:
        network: whose weights are kept.
        folder: where files are written.
        name: of the files, without ``.pt``.
        margins: kept beside the weights.

    Example:
        >>> BestWeights(nn.Linear(1, 1), "models", "model").file.name
        'model.pt'
    """

    def __init__(
        self, network: nn.Module, folder: str | os.PathLike, name: str, margins: MarginTable | None = None
    ) -> None:
        self.network = check_instance("network", network, nn.Module, "a torch.nn.Module")
        self.file = Path(check_path("folder", folder)) / f"{name}.pt"
        self.margins = margins
        self.best: float | None = None
        self.best_epoch: int | None = None

    def attach(self, engine: Engine) -> None:
        """Hook into the end of a validation.

        Args:
            engine: the evaluator; it has a key metric.
        """
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep the weights if they are the best so far.

        Args:
            engine: the evaluator, just run.

        Raises:
            ValueError: when it has no key metric.
        """
        assert isinstance(engine, Evaluator)
        value = key_metric(engine)
        if better(engine, value, self.best):
            self.keep(value, engine.state.epoch, engine.state.key_metric_name)

    def keep(self, value: float, epoch: int, metric: str) -> None:
        """Keep the weights as those of the best metric so far.

        Args:
            value: the metric.
            epoch: from 1 on.
            metric: its name.
        """
        self.best, self.best_epoch = value, epoch
        if rank() > 0:
            return
        with whole_file(self.file) as file:
            torch.save(unwrap(self.network).state_dict(), file)
        if self.margins is not None:
            with whole_file(self.file.with_name(f"{self.file.stem}_margins.pt")) as file:
                torch.save({"margins": self.margins.state_dict()}, file)
        logger.info("Epoch %d: %s %.4f is the best so far, weights kept in %s.", epoch, metric, value, self.file)

    def state_dict(self) -> dict[str, Any]:
        """The best metric so far and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved best metric."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def better(evaluator: Evaluator, value: float, best: float | None) -> bool:
    """A key metric is better than the best so far; NaN never is."""
    return not math.isnan(value) and (best is None or bool(evaluator.metric_cmp_fn(value, best)))


def key_metric(evaluator: Evaluator) -> float:
    """The key metric of an evaluator's last run; of a vector the mean of its finite values.

    Raises:
        ValueError: when it has none.
    """
    name = evaluator.state.key_metric_name
    if name is None:
        raise ValueError("The evaluator has no key metric, expected key_val_metric in the bundle's config.")
    value = torch.as_tensor(evaluator.state.metrics[name], dtype=torch.float64).flatten()
    return float(value[value.isfinite()].mean())
