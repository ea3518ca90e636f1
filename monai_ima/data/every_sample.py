"""Passes over a training set beside the training: nothing that the trainer sees changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

__all__ = ["every_sample", "refuse_stream"]


def every_sample(loader: Any) -> DataLoader | _Copied:
    """All samples that a training loader's sampler may draw, once and in a fixed order, as batches of its size.

    They are read by a loader of their own, with copies of the data set's transforms: iterating it leaves the training
    loader, its sampler and its workers, and the transforms' random numbers as they are (the seed of workers is drawn
    from torch's global generator: see :func:`~monai_ima.utils.generators.kept_random_states`).

    Args:
        loader: a ``DataLoader``; or any other iterable with a length, whose batches are handed out as copies. Of a
            distributed sampler this process's share is taken, without repetition.

    Raises:
        ValueError: if it reads a stream, which has no length and cannot be read twice.

    Example:
        >>> loader = DataLoader(list(range(5)), batch_size=2, shuffle=True, drop_last=True)
        >>> [batch.tolist() for batch in every_sample(loader)]
        [[0, 1], [2, 3], [4]]
    """
    refuse_stream(loader)
    if not isinstance(loader, DataLoader):
        return _Copied(loader)
    dataset = _with_copied_transforms(loader.dataset)
    stream = isinstance(dataset, IterableDataset)
    return DataLoader(
        dataset,
        batch_size=loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1,
        sampler=None if stream else _indices(loader),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def refuse_stream(loader: Any) -> None:
    """Every sample can be read once more beside the training.

    Raises:
        ValueError: if the loader reads a stream, which has no length and cannot be read twice.
    """
    source = loader.dataset if isinstance(loader, DataLoader) else loader
    sized = hasattr(source, "__len__") and not isinstance(source, Iterator)
    if not sized and (source is loader or isinstance(source, IterableDataset)):
        raise ValueError(
            f"The training data are a stream ({type(source).__name__}), which a pass over every sample would use up, "
            "expected a data set with a length; update='online' moves margins without a pass."
        )


def _indices(loader: DataLoader) -> Sequence[int]:
    """What a loader's sampler draws from, without drawing: of a distributed one this process's share."""
    sampler: Any = getattr(loader.batch_sampler, "sampler", None) or loader.sampler
    if hasattr(sampler, "num_replicas"):
        return range(sampler.rank, len(loader.dataset), sampler.num_replicas)  # type: ignore[arg-type]
    indices = getattr(sampler, "indices", None)
    return range(len(loader.dataset)) if indices is None else indices  # type: ignore[arg-type]


def _with_copied_transforms(dataset: Any) -> Any:
    """The same data set, also inside ``Subset`` and ``ConcatDataset``, whose transforms draw numbers of their own."""
    if not isinstance(dataset, Dataset):
        return dataset
    copied = copy.copy(dataset)
    for name, value in vars(dataset).items():
        if name in ("transform", "transforms"):
            setattr(copied, name, copy.deepcopy(value))
        elif isinstance(value, Dataset):
            setattr(copied, name, _with_copied_transforms(value))
        elif name == "datasets":
            setattr(copied, name, [_with_copied_transforms(inner) for inner in value])
    return copied


class _Copied:
    """Batches that are no data loader's, each handed out as a copy."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return map(copy.deepcopy, self.batches)
