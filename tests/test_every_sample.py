"""A margin pass reads every training sample once, also of whole batches, or says that it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    default_collate,
)
from training_runs import blobs, make_trainer, small_network

from monai_ima.data.every_sample import every_sample
from monai_ima.handlers import IMAHandler

SAMPLES = 12


def ima(**settings: Any) -> IMAHandler:
    return IMAHandler(2.0, **{"delta": 0.2, "steps": 2, "margin_steps": 2, "binary_steps": 1, **settings})


def margins(handler: IMAHandler) -> dict[str, float]:
    return {name: handler.margins[name] for name in sorted(handler.margins.ids())}


def train(loader: Any, handler: IMAHandler, epochs: int = 1) -> IMAHandler:
    make_trainer(small_network(), None, [handler], epochs, lr=0.0, loader=loader, epoch_length=3).run()
    return handler


class Again:
    """Three batches, as often as they are asked for."""

    def __init__(self) -> None:
        self.batches = list(DataLoader(blobs(SAMPLES), 4))

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class Once(Again):
    """Three batches, of one iterator that is handed out again when it is used up."""

    def __init__(self) -> None:
        super().__init__()
        self.left = iter(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return self.left


class Endless(Once):
    """One iterator over new samples for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.left = (next(iter(DataLoader(blobs(4, seed), 4))) for seed in cycle(range(10**9)))


class Few(Once):
    """One batch is left for a pass after the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.left = iter([*self.batches, self.batches[0]])


class OnceSet(IterableDataset):
    """The same of a data set, behind a data loader."""

    def __init__(self) -> None:
        self.left = iter(blobs(SAMPLES))

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[Any]:
        return self.left


class AgainSet(OnceSet):
    def __iter__(self) -> Iterator[Any]:
        return iter(blobs(SAMPLES))


SHORT = r"A pass over the training data \(\w+\) gave {} samples, {} of them among the epoch's 12, .*update='online'"


@pytest.mark.parametrize(
    ("make", "given", "known"),
    [(Once, 0, 0), (Few, 4, 4), (Endless, 12, 0), (lambda: DataLoader(OnceSet(), 4), 0, 0)],
    ids=["once", "few", "endless", "iterable set"],
)
def test_a_stream_that_has_a_length_is_refused_when_its_pass_falls_short(make, given, known):
    with pytest.raises(ValueError, match=SHORT.format(given, known)):
        train(make(), ima())
    assert len(train(make(), ima(update="online")).margins) == SAMPLES


@pytest.mark.parametrize("make", [Once, lambda: DataLoader(OnceSet(), 4)])
def test_a_stream_that_a_first_pass_has_used_up_is_refused(make):
    with pytest.raises(ValueError, match=r"Epoch 1 had no batch: .*update='online' without first_pass"):
        train(make(), ima(first_pass=True))


@pytest.mark.parametrize("make", [Again, lambda: DataLoader(AgainSet(), 4)])
def test_what_can_be_read_again_moves_the_margins_of_a_data_set(make):
    expected = margins(train(DataLoader(blobs(SAMPLES), 4), ima(), epochs=2))
    assert margins(train(make(), ima(), epochs=2)) == expected
    assert max(expected.values()) > 0.2


def test_an_epoch_longer_than_the_loader_and_a_passes_own_last_batch_are_no_shortage():
    class Dropping(Again):
        def __iter__(self):
            order = torch.randperm(SAMPLES + 2).tolist()
            items = [blobs(SAMPLES + 2)[k] for k in order]
            return iter(DataLoader(items, 4, drop_last=True))

    class Two(Again):
        def __init__(self) -> None:
            self.batches = list(DataLoader(blobs(8), 4))

        def __len__(self) -> int:
            return 2

    train(Dropping(), ima(), epochs=2)
    assert len(train(Two(), ima()).margins) == 8


class WholeBatches(Dataset):
    """Hands out three batches of four."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return default_collate(blobs(SAMPLES)[4 * index : 4 * index + 4])


class ByList(Dataset):
    """Hands out the batch of a list of indices."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, rows: list[int]) -> Any:
        return default_collate([blobs(SAMPLES)[row] for row in rows])


class Pairs(Sampler):
    """Draws pairs of its own, and says nothing of their size."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __iter__(self):
        return iter(torch.randperm(SAMPLES, generator=self.generator).reshape(-1, 2).tolist())

    def __len__(self) -> int:
        return SAMPLES // 2


class WholeStream(AgainSet):
    def __len__(self) -> int:
        return 3

    def __iter__(self):
        return (WholeBatches()[k] for k in range(3))


def by_list(sampler: Any) -> DataLoader:
    return DataLoader(ByList(), batch_size=None, sampler=sampler)


ALL, SHARE = range(SAMPLES), [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("loader", "rows", "sizes"),
    [
        (DataLoader(WholeBatches(), batch_size=None), ALL, [4, 4, 4]),
        (DataLoader(WholeBatches(), batch_size=None, shuffle=True), ALL, [4, 4, 4]),
        (by_list(BatchSampler(RandomSampler(ALL), 5, drop_last=True)), ALL, [5, 5, 2]),
        (by_list(BatchSampler(SubsetRandomSampler([7, 2, 9]), 2, False)), [7, 2, 9], [2, 1]),
        (by_list(BatchSampler(DistributedSampler(ALL, 2, 1), 4, False)), SHARE, [4, 2]),
        (by_list(Pairs()), ALL, [2] * 6),
        (DataLoader(WholeStream(), batch_size=None), ALL, [4, 4, 4]),
    ],
    ids=["whole", "shuffled", "batch sampler", "subset", "distributed", "own sampler", "stream"],
)
def test_whole_batches_come_once_and_are_not_collated_again(loader, rows, sizes):
    batches = list(every_sample(loader))
    assert [tuple(batch["image"].shape) for batch in batches] == [(size, 1, 4, 4) for size in sizes]
    expected = [blobs(SAMPLES)[row] for row in rows]
    assert [name for batch in batches for name in batch["sample_id"]] == [item["sample_id"] for item in expected]
    assert torch.equal(torch.cat([b["image"] for b in batches]), torch.stack([item["image"] for item in expected]))
    assert len(every_sample(loader)) == len(sizes)


def test_looking_at_a_sampler_draws_nothing_from_it():
    sampler = Pairs()
    list(every_sample(by_list(sampler)))
    assert list(sampler) == list(Pairs())


@pytest.mark.parametrize("make", [lambda: DataLoader(WholeBatches(), batch_size=None), lambda: by_list(Pairs())])
def test_whole_batches_train_and_move_every_margin(make):
    moved = margins(train(make(), ima()))
    assert len(moved) == SAMPLES
    assert max(moved.values()) > 0.2
    assert moved == pytest.approx(margins(train(DataLoader(blobs(SAMPLES), 4), ima())))
