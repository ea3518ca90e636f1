from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ignite.engine import Events
from monai.engines import Evaluator
from torch.utils.data import DataLoader

from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.utils.distributed import rank
from monai_ima.utils.progress import Progress, on_terminal

__all__ = ["validation_progress"]


@contextmanager
def validation_progress(evaluator: Evaluator) -> Iterator[None]:
    """In the block an evaluator that attacks its batches shows on a terminal how far its run is; the line goes then.

    Of several processes one shows its own part of the samples. Where stderr is no terminal there is no line.

    Args:
        evaluator: with an :class:`~monai_ima.engines.AdversarialPrepareBatch`; any other shows nothing.

    Example:
        >>> evaluator = Evaluator("cpu", [], epoch_length=1)
        >>> with validation_progress(evaluator):
        ...     evaluator.has_event_handler(print)
        False
    """
    if rank() > 0 or not on_terminal() or not isinstance(evaluator.prepare_batch, AdversarialPrepareBatch):
        yield
        return
    prepare = evaluator.prepare_batch
    total, unit, size = _samples(evaluator)
    stage = type(prepare.attack).__name__, prepare.eps
    with Progress("robust validation", [stage], total, unit=unit, leave=False) as progress:

        def begin() -> None:
            left = size if total is None else total - progress.passed
            progress.begin(max(min(size, left), 1))
            progress.stage(*stage)

        handlers = (Events.ITERATION_STARTED, begin), (Events.ITERATION_COMPLETED, progress.end)
        added = [evaluator.add_event_handler(event, handler) for event, handler in handlers]
        try:
            yield
        finally:
            for handler in added:
                handler.remove()


def _samples(evaluator: Evaluator) -> tuple[int | None, str, int]:
    """How many samples, or else batches, a run has; which of the two; how many are in a batch."""
    loader, batches = evaluator.data_loader, evaluator.state.epoch_length
    if batches is None or not isinstance(loader, DataLoader) or loader.batch_size is None:
        return batches, "batches", 1
    return min(len(loader.sampler), batches * loader.batch_size), "samples", loader.batch_size  # type: ignore[arg-type]
