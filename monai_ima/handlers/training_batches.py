from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from monai_ima.utils.batch import Batch
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import batch_files, batch_sample_ids, common_folder
from monai_ima.utils.tensors import plain

__all__ = ["TrainingBatches", "autocast", "prepared"]


class TrainingBatches:
    """A trainer's batches as training methods take them; iterated: one epoch of its own loader.

    Args:
        sample_key: key of the sample ids in a batch; None means ``"sample_id"``, else the image file's name.
    """

    def __init__(self, sample_key: str | None = None) -> None:
        self.sample_key = sample_key
        self._root: str | None = None
        self._files: dict[str, str] = {}

    def begin_epoch(self, engine: SupervisedTrainer) -> None:
        """Called before an epoch's first batch."""
        self._engine = engine
        self._files.clear()
        if self._root is None:
            self._root = common_folder(getattr(engine.data_loader, "dataset", None))

    def sample_ids(self, batchdata: Any, image: torch.Tensor) -> list[str]:
        """The ids of a batch's samples.

        Raises:
            ValueError: if there are none, or if one id stands for two different files.
        """
        sample_ids = batch_sample_ids(batchdata, image, self.sample_key, self._root)
        for sample_id, file in zip(sample_ids, batch_files(image) or [], strict=False):
            if self._files.setdefault(sample_id, file) != file:
                raise ValueError(
                    f"Sample id {sample_id!r} is repeated: it stands for {self._files[sample_id]} and for {file}, "
                    "expected a different id for each file."
                )
        return sample_ids

    def batch(self, batchdata: Any, image: torch.Tensor, label: torch.Tensor, extra: Sequence[Any]) -> Batch:
        """A batch without metadata.

        Args:
            batchdata: as the loader gave it.
            image: as ``prepare_batch`` made it.
            label: likewise.
            extra: what ``prepare_batch`` gave after these two: nothing, or the network's args and kwargs.
        """
        predict = Predictor.prepared(self._engine.inferer, unwrap(self._engine.network), len(image), extra)
        return Batch(predict, plain(image), plain(label), self.sample_ids(batchdata, image))

    def __len__(self) -> int:
        return self._engine.state.epoch_length

    def __iter__(self) -> Iterator[Batch]:
        engine = self._engine
        for batchdata in islice(engine.data_loader, engine.state.epoch_length):
            image, label, *extra = prepared(engine, batchdata)
            yield self.batch(batchdata, image, label, extra)


def prepared(engine: SupervisedTrainer | SupervisedEvaluator, batchdata: Any) -> Sequence[Any]:
    """What an engine's ``prepare_batch`` makes of a batch: image, label, and the network's args and kwargs if any."""
    return engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)


def autocast(engine: SupervisedTrainer | SupervisedEvaluator) -> AbstractContextManager:
    """The context of mixed precision that an engine runs its network in."""
    return torch.autocast("cuda", **{**engine.amp_kwargs, "enabled": engine.amp})
