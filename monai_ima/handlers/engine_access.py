"""What handlers take from MONAI's engines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from monai_ima.utils.label_maps import FractionWarning
from monai_ima.utils.tensors import plain

__all__ = ["PreparedBatch", "autocast", "prepared", "without_loss"]


class PreparedBatch:
    """What a trainer's ``prepare_batch`` makes of a batch, which is called once only.

    Args:
        engine: the trainer; its ``prepare_batch`` is wrapped.
    """

    def __init__(self, engine: SupervisedTrainer) -> None:
        self._engine = engine
        self._seen: tuple[Any, Any, Sequence[Any]] = (None, None, ())
        prepare, warn_of_fractions = engine.prepare_batch, FractionWarning()

        def noting(batchdata: Any, *args: Any, **kwargs: Any) -> Any:
            result = prepare(batchdata, *args, **kwargs)
            warn_of_fractions(result[1])
            image = plain(result[0]).clone() if isinstance(result[0], torch.Tensor) else result[0]
            self._seen = (batchdata, result[0], (image, *result[1:]))
            return result

        engine.prepare_batch = noting

    def current(self) -> tuple[Any, Sequence[Any]]:
        """The batch that the trainer is at, and what was made of it: its image as it was before the network saw it."""
        output, batchdata = self._engine.state.output, self._engine.state.batch
        noted, given, result = self._seen
        if noted is not batchdata and not _same_memory(given, output["image"]):
            return batchdata, prepared(self._engine, batchdata)
        return noted, result


def prepared(engine: SupervisedTrainer | SupervisedEvaluator, batchdata: Any) -> Sequence[Any]:
    """What an engine's ``prepare_batch`` makes of a batch: image, label, and the network's args and kwargs if any."""
    return engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)


def autocast(engine: SupervisedTrainer | SupervisedEvaluator) -> AbstractContextManager:
    """The context of mixed precision that an engine runs its network in."""
    return torch.autocast("cuda", **{**engine.amp_kwargs, "enabled": engine.amp})


def without_loss(handler: str, engine: SupervisedTrainer, batches: int) -> ValueError:
    """The error of an epoch in which a handler had no loss to replace.

    Args:
        handler: its name.
        engine: the trainer.
        batches: of the epoch.
    """
    epoch = engine.state.epoch
    if not batches:
        return ValueError(
            f"Epoch {epoch} had no batch: the training data are empty, or a stream that something else has used up, "
            "such as a pass over every sample, expected at least one; update='online' without first_pass makes none."
        )
    return ValueError(
        f"{handler} was not called once in epoch {epoch}, expected {type(engine).__name__} to fire "
        "IterationEvents.LOSS_COMPLETED as SupervisedTrainer does."
    )


def _same_memory(one: Any, other: Any) -> bool:
    both_tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return both_tensors and one.data_ptr() == other.data_ptr()
