"""Passes over a training set beside the training: nothing that the trainer sees changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from monai_ima.utils.generators import kept_random_states

__all__ = ["check_pass", "every_sample", "refuse_stream"]

ONLINE = "update='online' moves margins without a pass."


def every_sample(loader: Any) -> DataLoader | _Copied:
    """All samples that a training loader's sampler may draw, once and in a fixed order, as batches of its size.

    They are read by a loader of their own, with copies of the data set's transforms: iterating it leaves the training
    loader, its sampler and its workers, and the transforms' random numbers as they are (the seed of workers is drawn
    from torch's global generator: see :func:`~monai_ima.utils.generators.kept_random_states`).

    Args:
        loader: a ``DataLoader``, also one of whole batches (``batch_size=None``); or any other iterable with a length,
            as many batches of which are handed out as copies. Of a distributed sampler this process's share is taken,
            without repetition.

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
    sampler: Any = None if isinstance(dataset, IterableDataset) else _indices(loader)
    whole_batches = loader.batch_sampler is None
    size = None if whole_batches else loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    if whole_batches and sampler is not None:
        drawn = _drawn_together(loader)
        sampler = sampler if drawn is None else BatchSampler(sampler, drawn, drop_last=False)
    return DataLoader(
        dataset,
        batch_size=size,
        sampler=sampler,
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
            f"expected a data set with a length; {ONLINE}"
        )


def check_pass(loader: Any, read: Sequence[Sequence[str]], trained: Sequence[Sequence[str]]) -> None:
    """A pass was over the samples that the training sees, and did not find them used up.

    What is read by index needs no check.

    Args:
        loader: the training's.
        read: sample ids of the pass, by batch.
        trained: sample ids of the epoch before it, by batch; none where no epoch has been.

    Raises:
        ValueError: if the pass had no sample, fewer than the epoch, or none of the epoch's.

    Example:
        >>> check_pass([0, 1], [["a", "b"], ["c"]], [["b", "c"]])
        >>> check_pass([0, 1], [], [])
        Traceback (most recent call last):
        ...
        ValueError: A pass over the training data (list) gave 0 samples, ...
    """
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        return
    given, expected = list(chain(*read)), list(chain(*trained[: len(loader)]))
    if not given or len(given) < len(expected) or (expected and set(given).isdisjoint(expected)):
        known = len(set(given).intersection(expected))
        raise ValueError(
            f"A pass over the training data ({type(loader).__name__}) gave {len(given)} samples, {known} of them among "
            f"the epoch's {len(expected)}, expected every sample each time the data are read: they are a stream; "
            f"{ONLINE}"
        )


def _indices(loader: DataLoader) -> Sequence[int]:
    """What a loader's sampler draws from, without drawing: of a distributed one this process's share."""
    sampler: Any = getattr(loader.batch_sampler or loader.sampler, "sampler", None) or loader.sampler
    if hasattr(sampler, "num_replicas"):
        return range(sampler.rank, len(loader.dataset), sampler.num_replicas)  # type: ignore[arg-type]
    indices = getattr(sampler, "indices", None)
    return range(len(loader.dataset)) if indices is None else indices  # type: ignore[arg-type]


def _drawn_together(loader: DataLoader) -> int | None:
    """How many indices a loader that does not batch hands to its data set at once; None: single ones."""
    size = getattr(loader.sampler, "batch_size", None)
    if size is not None:
        return int(size)
    with kept_random_states():
        first = next(iter(copy.deepcopy(loader.sampler, {id(loader.dataset): loader.dataset})), None)
    return len(first) if isinstance(first, Sequence) else None


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
        return map(copy.deepcopy, islice(self.batches, len(self)))
