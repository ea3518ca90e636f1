from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from monai_ima.attacks import attack_mode
from monai_ima.attacks.independence import refuse_batch_dependence
from monai_ima.data.every_sample import check_pass, every_sample, refuse_stream
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_text
from monai_ima.utils.generators import kept_random_states
from monai_ima.utils.outputs import Output
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import batch_files, batch_sample_ids, check_labels, common_folder
from monai_ima.utils.spacing import scan_spacings
from monai_ima.utils.tensors import plain

from .engine_access import PreparedBatch, prepared

__all__ = ["TrainingBatches"]


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
        self._trained: list[list[str]] = []
        self._network_checked = False

    def attach(self, engine: SupervisedTrainer, passes: bool, output: Output = None) -> None:
        """Note what the trainer's ``prepare_batch`` makes of every batch: it is called once only.

        Args:
            engine: the trainer.
            passes: the method goes through every sample by itself.
            output: index or key of the network's output that counts; None: the first.

        Raises:
            ValueError: if it does, and the trainer's loader reads a stream.
        """
        if passes:
            refuse_stream(engine.data_loader)
        self._engine, self._output = engine, output
        self._prepared = PreparedBatch(engine)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._check_network)

    def begin_epoch(self) -> None:
        """Called before an epoch's first batch.

        Raises:
            ValueError: if a layer of the network normalises by the batch in evaluation mode.
        """
        with attack_mode(unwrap(self._engine.network)):
            pass
        self._files.clear()
        self._trained.clear()
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
        batchdata, result = self._prepared.current()
        batch = self._batch(batchdata, self._engine.state.output["image"], result)
        self._trained.append(batch.sample_ids)
        return batch

    def _batch(self, batchdata: Any, named: torch.Tensor, result: Sequence[Any]) -> Batch:
        image, label = result[:2]
        self.check_labels(batchdata, named, label)
        predict, sample_ids = self._predictor(result), self.sample_ids(batchdata, named)
        return Batch(predict, plain(image), plain(label), sample_ids, spacings=scan_spacings(image))

    def _predictor(self, result: Sequence[Any]) -> Predictor:
        """From images to predictions; of a network that was not asked before whether it looks at each on its own."""
        image, _, *extra = result
        predict = Predictor.prepared(self._engine.inferer, unwrap(self._engine.network), len(image), extra)
        if not self._network_checked:
            self._network_checked = refuse_batch_dependence(predict, plain(image), self._output)
        return predict

    def _check_network(self, engine: SupervisedTrainer) -> None:
        if not self._network_checked:
            self._predictor(self._prepared.current()[1])

    def __len__(self) -> int:
        return len(every_sample(self._engine.data_loader))

    def __iter__(self) -> Iterator[Batch]:
        """Every training sample of this process once.

        Raises:
            ValueError: if the trainer's loader reads a stream, which cannot be read twice, or turns out to be one.
        """
        read: list[list[str]] = []
        with kept_random_states():
            for batchdata in every_sample(self._engine.data_loader):
                result = prepared(self._engine, batchdata)
                batch = self._batch(batchdata, result[0], result)
                read.append(batch.sample_ids)
                yield batch
        check_pass(self._engine.data_loader, read, self._trained)
