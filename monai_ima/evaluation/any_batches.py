"""The batches of any loop, each with the ids of its samples."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.utils import CommonKeys
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from monai_ima.utils.sample_ids import SAMPLE_ID, batch_files

__all__ = ["NumberedBatches"]

BATCH = "batch"

logger = logging.getLogger(__name__)


class NumberedBatches:
    """A loader's batches as dictionaries with ids: its own, else the numbers of the samples in the loader's order.

    Args:
        loader: gives, several times and in the same order, batches: dictionaries, or ``(image, label, ...)``.

    Raises:
        ValueError: if the loader shuffles samples that have no ids.

    Example:
        >>> batches = NumberedBatches([(torch.zeros(2, 1, 4), torch.tensor([0, 1]))] * 2)
        >>> [batch["sample_id"] for batch in batches]
        [['0', '1'], ['2', '3']]
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader
        self.dataset = getattr(loader, "dataset", None)
        self._labels: dict[int, str] = {}
        self._told = False

    def __iter__(self) -> Iterator[Any]:
        number = 0
        for index, batch in enumerate(self.loader):
            count = _count(batch)
            if count is None or _has_ids(batch):
                yield batch
                continue
            self._check_order(index, batch)
            ids = [str(k) for k in range(number, number + count)]
            number += count
            yield {**batch, SAMPLE_ID: ids} if isinstance(batch, Mapping) else {BATCH: batch, SAMPLE_ID: ids}

    def preparing(self, prepare_batch: Callable[..., Any]) -> Callable[..., Any]:
        """A ``prepare_batch`` of the loader's batches as one of these."""

        def prepare(batch: Any, *arguments: Any, **named: Any) -> Any:
            given = batch[BATCH] if isinstance(batch, Mapping) and BATCH in batch else batch
            return prepare_batch(given, *arguments, **named)

        return prepare

    def _check_order(self, index: int, batch: Any) -> None:
        """Samples without ids are told apart by their place, which must be the same each time."""
        if isinstance(self.loader, DataLoader) and isinstance(self.loader.sampler, RandomSampler):
            raise ValueError(
                f"The loader shuffles samples that have no ids, expected shuffle=False, or ids under {SAMPLE_ID!r} in "
                "each batch."
            )
        if not self._told:
            self._told = True
            sure = isinstance(self.loader, Sequence) or isinstance(
                getattr(self.loader, "sampler", None), SequentialSampler
            )
            logger.info(
                "The batches hold no sample ids: samples are numbered in the loader's order%s.",
                "" if sure else ", which has to be the same each time",
            )
        label = _fingerprint(batch)
        if self._labels.setdefault(index, label) != label:
            raise ValueError(
                f"Batch {index} of the loader has other labels than when it was read before, and its samples have no "
                f"ids: expected the same order each time, or ids under {SAMPLE_ID!r} in each batch."
            )


def _tensors(batch: Any) -> list[torch.Tensor]:
    """The tensors of a batch, the images first."""
    if isinstance(batch, Mapping):
        values = [batch[key] for key in sorted(batch, key=lambda key: key != CommonKeys.IMAGE)]
    else:
        values = list(batch) if isinstance(batch, tuple | list) else []
    return [value for value in values if isinstance(value, torch.Tensor) and value.ndim > 0]


def _count(batch: Any) -> int | None:
    """How many samples a batch has; None where it holds no tensors, which is found out later."""
    tensors = _tensors(batch)
    return len(tensors[0]) if tensors else None


def _has_ids(batch: Any) -> bool:
    if not isinstance(batch, Mapping):
        return False
    return SAMPLE_ID in batch or any(batch_files(tensor) is not None for tensor in _tensors(batch))


def _fingerprint(batch: Any) -> str:
    """Of the shapes of a batch, and of all its tensors but the first, the images."""
    digest = hashlib.sha256()
    for k, tensor in enumerate(_tensors(batch)):
        digest.update(str(tuple(tensor.shape)).encode())
        if k:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
