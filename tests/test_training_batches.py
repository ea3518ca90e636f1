"""Training methods beside a trainer's own data: batches, epochs and random numbers stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.transforms import Compose, RandGaussianNoised, RandScaleIntensityd
from monai.utils import set_determinism
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, SubsetRandomSampler
from training_runs import blobs, make_trainer, small_network

from monai_ima.attacks import PGD
from monai_ima.data.every_sample import every_sample
from monai_ima.handlers import IMAHandler, PGDTrainingHandler


def ima(**settings: Any) -> IMAHandler:
    return IMAHandler(2.0, **{"delta": 0.2, "steps": 2, "margin_steps": 2, "binary_steps": 1, **settings})


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("update", ["epoch", "online"])
def test_margins_move_at_the_end_of_epochs_after_one_that_ended_early(update, skip, monkeypatch):
    handler = ima(update=update)
    trainer = make_trainer(small_network(), blobs(12), [handler], epochs=3, batch_size=2)
    moved = []
    end_epoch = handler.method.end_epoch

    def noted(training_set):
        moved.append(trainer.state.iteration)
        return end_epoch(training_set)

    monkeypatch.setattr(handler.method, "end_epoch", noted)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate_epoch(skip))
    trainer.run()
    assert moved == [2, 8, 14]
    assert len(handler.margins) == 12


def random_data(kind: str) -> Any:
    transform = Compose([RandGaussianNoised("image", prob=1.0, std=0.1), RandScaleIntensityd("image", 0.3, prob=0.5)])
    transform.set_random_state(5)
    data = CacheDataset(blobs(20), transform, progress=False) if kind == "cache" else Dataset(blobs(20), transform)
    if kind == "nested":
        return ConcatDataset([Subset(data, range(12)), Subset(data, range(12, 20))])
    return data


def batches_seen(kind: str, handlers: list, workers: int = 0, length: int | None = None) -> list[torch.Tensor]:
    """The images of every training batch, of three epochs."""
    set_determinism(7)
    seen: list[torch.Tensor] = []
    loader = DataLoader(random_data(kind), 4, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    network = small_network()
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=loader,
        epoch_length=length,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=handlers,
    )
    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda e: seen.append(e.state.output["image"].clone()))
    trainer.run()
    set_determinism(None)
    if workers:
        loader._iterator._shutdown_workers()  # garbage collection would wait 5 s for each
    return seen


@pytest.mark.parametrize(
    ("kind", "workers", "length"),
    [("plain", 0, None), ("cache", 0, None), ("nested", 0, None), ("plain", 0, 3), ("plain", 1, None), ("plain", 1, 3)],
)
def test_a_margin_pass_takes_every_sample_once_and_nothing_from_the_trainer(kind, workers, length, monkeypatch):
    handler = ima(first_pass=True)
    passes = []
    margin_pass = vars(type(handler.method))["margin_pass"]

    def counted(training_set, eps=None):
        batches = list(training_set)
        passes.append(sorted(sample_id for batch in batches for sample_id in batch.sample_ids))
        return margin_pass(handler.method, batches, eps)

    monkeypatch.setattr(handler.method, "margin_pass", counted)
    hardened = batches_seen(kind, [handler], workers, length)
    plain = batches_seen(kind, [], workers, length)
    assert len(plain) == len(hardened) == 3 * (length or 5)
    assert all(torch.equal(one, other) for one, other in zip(plain, hardened, strict=True))
    assert passes == [sorted(item["sample_id"] for item in blobs(20))] * 4


class Stream(IterableDataset):
    def __iter__(self):
        return iter(blobs(8))


def test_a_stream_is_refused_for_a_pass_before_work_starts_and_trains_online():
    network = small_network()

    def trainer(handler, loader):
        return make_trainer(network, None, [handler], lr=0.0, loader=loader, epoch_length=2)

    for loader in (DataLoader(Stream(), 4), iter(DataLoader(blobs(8), 4))):
        for settings in ({}, {"update": "online", "first_pass": True}):
            with pytest.raises(ValueError, match=r"The training data are a stream .* update='online'"):
                trainer(ima(**settings), loader)
        online = ima(update="online")
        trainer(online, loader).run()
        assert len(online.margins) == 8


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(list(range(5)), 2, shuffle=True, drop_last=True), [[0, 1], [2, 3], [4]]),
        (DataLoader(list(range(5)), sampler=SubsetRandomSampler([3, 1, 4])), [[3], [1], [4]]),
        (
            DataLoader(
                list(range(5)), 2, sampler=torch.utils.data.DistributedSampler(list(range(5)), num_replicas=2, rank=1)
            ),
            [[1, 3]],
        ),
        (
            DataLoader(
                list(range(4)),
                batch_sampler=torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(list(range(4))), 3, False),
            ),
            [[0, 1, 2], [3]],
        ),
    ],
)
def test_every_sample_that_a_sampler_may_draw_comes_once(loader, expected):
    assert [batch.tolist() for batch in every_sample(loader)] == expected


def test_batches_in_a_list_are_handed_out_as_copies():
    batches = [{"image": torch.ones(1)}]
    for batch in every_sample(batches):
        batch["image"].mul_(2)
        batch.pop("image")
    assert batches[0]["image"] == 1


@pytest.mark.parametrize("update", ["epoch", "online"])
def test_prepare_batch_is_called_once_a_batch(update, monkeypatch):
    calls = []

    def prepare(batchdata, device=None, non_blocking=False, **kwargs):
        calls.append(batchdata["sample_id"])
        return batchdata.pop("image").mul_(0.5), batchdata.pop("label")

    seen = []
    handler = ima(update=update)
    loss = handler.method.loss

    def noted(batch, *arguments):
        seen.append(batch.image.clone())
        return loss(batch, *arguments)

    monkeypatch.setattr(handler.method, "loss", noted)
    make_trainer(small_network(), blobs(8), [handler], epochs=1, batch_size=4, prepare_batch=prepare).run()
    expected = torch.stack([item["image"] for item in blobs(8)]) * 0.5
    assert torch.equal(torch.cat(seen), expected)
    assert len(calls) == (2 if update == "online" else 4)
    assert len(handler.margins) == 8


class Halving(nn.Module):
    """Changes its input in place, as ``nn.ReLU(inplace=True)`` in front does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network()

    def forward(self, x):
        return self.inner(x.mul_(0.5))


class Halved(Halving):
    def forward(self, x):
        return self.inner(x * 0.5)


@pytest.mark.parametrize("make", [ima, lambda: PGDTrainingHandler(0.5, steps=2)])
def test_a_network_that_changes_its_input_in_place_trains_like_one_that_does_not(make):
    weights = []
    for kind in (Halving, Halved):
        network = kind()
        handler = make()
        make_trainer(network, blobs(8), [handler], epochs=2, batch_size=4).run()
        weights.append(network.inner.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize("make", [ima, lambda: PGDTrainingHandler(0.5, steps=2)])
def test_a_network_whose_predictions_depend_on_the_batch_is_refused_before_training_and_attacks(make):
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)
    )
    sentence = r"Layer '2' \(BatchNorm1d\) has track_running_stats=False"
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(ValueError, match=sentence):
        make_trainer(network, blobs(8), [make()]).run()
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
    image, label = torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=sentence):
        PGD("l2", 2)(network, image, label, 0.5)
