from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from monai_ima.attacks.mode import refuse_batch_statistics
from monai_ima.data.every_sample import every_sample, refuse_stream
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_text
from monai_ima.utils.generators import kept_random_states
from monai_ima.utils.label_maps import FractionWarning
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import batch_files, batch_sample_ids, check_labels, common_folder
from monai_ima.utils.tensors import plain

__all__ = ["TrainingBatches", "autocast", "prepared"]


class TrainingBatches:
    """A trainer's batches as training methods take them; iterated: every training sample once.

    The trainer's own loader is left alone: a second one, in a fixed order, with copies of the data set's random
    transforms, gives the samples. Batches, augmentations and random states of the training stay as they are.

    Args:
        sample_key: key of the sample ids in a batch; None means ``"sample_id"``, else the image file's name.
    """

    def __init__(self, sample_key: str | None = None) -> None:
        self.sample_key = None if sample_key is None else check_text("sample_key", sample_key, "a key of the batch")
        self._root: str | None = None
        self._files: dict[str, str] = {}
        self._seen: tuple[Any, Any, Sequence[Any]] = (None, None, ())
        self._warn_of_fractions = FractionWarning()

    def attach(self, engine: SupervisedTrainer, passes: bool) -> None:
        """Note what the trainer's ``prepare_batch`` makes of every batch: it is called once only.

        Args:
            engine: the trainer.
            passes: the method goes through every sample by itself.

        Raises:
            ValueError: if it does, and the trainer's loader reads a stream.
        """
        if passes:
            refuse_stream(engine.data_loader)
        self._engine = engine
        prepare = engine.prepare_batch

        def noting(batchdata: Any, *args: Any, **kwargs: Any) -> Any:
            result = prepare(batchdata, *args, **kwargs)
            self._warn_of_fractions(result[1])
            image = plain(result[0]).clone() if isinstance(result[0], torch.Tensor) else result[0]
            self._seen = (batchdata, result[0], (image, *result[1:]))
            return result

        engine.prepare_batch = noting

    def begin_epoch(self) -> None:
        """Called before an epoch's first batch.

        Raises:
            ValueError: if the network's prediction of a sample depends on its batch.
        """
        refuse_batch_statistics(unwrap(self._engine.network))
        self._files.clear()
        if self._root is None:
            self._root = common_folder(getattr(self._engine.data_loader, "dataset", None))

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

    def check_labels(self, batchdata: Any, image: torch.Tensor, label: Any) -> None:
        """Refuse a batch without labels.

        Raises:
            ValueError: if it has none; names its first sample.
        """
        check_labels(label, batchdata, image, self.sample_key, self._root)

    def current(self) -> Batch:
        """The batch that the trainer is at, its image as it was before the network saw it.

        Raises:
            ValueError: if it has no ids.
        """
        output, batchdata = self._engine.state.output, self._engine.state.batch
        noted, given, result = self._seen
        if noted is not batchdata and not _same_memory(given, output["image"]):
            noted, result = batchdata, prepared(self._engine, batchdata)
        return self._batch(noted, output["image"], result)

    def _batch(self, batchdata: Any, named: torch.Tensor, result: Sequence[Any]) -> Batch:
        image, label, *extra = result
        self.check_labels(batchdata, named, label)
        predict = Predictor.prepared(self._engine.inferer, unwrap(self._engine.network), len(image), extra)
        return Batch(predict, plain(image), plain(label), self.sample_ids(batchdata, named))

    def __len__(self) -> int:
        return len(every_sample(self._engine.data_loader))

    def __iter__(self) -> Iterator[Batch]:
        """Every training sample of this process once.

        Raises:
            ValueError: if the trainer's loader reads a stream, which cannot be read twice.
        """
        with kept_random_states():
            for batchdata in every_sample(self._engine.data_loader):
                result = prepared(self._engine, batchdata)
                yield self._batch(batchdata, result[0], result)


def prepared(engine: SupervisedTrainer | SupervisedEvaluator, batchdata: Any) -> Sequence[Any]:
    """What an engine's ``prepare_batch`` makes of a batch: image, label, and the network's args and kwargs if any."""
    return engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)


def _same_memory(one: Any, other: Any) -> bool:
    both_tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return both_tensors and one.data_ptr() == other.data_ptr()


def autocast(engine: SupervisedTrainer | SupervisedEvaluator) -> AbstractContextManager:
    """The context of mixed precision that an engine runs its network in."""
    return torch.autocast("cuda", **{**engine.amp_kwargs, "enabled": engine.amp})
