"""Networks whose prediction of a sample depends on the others in its batch are refused before training and attacks."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn
from torch.nn import functional
from training_runs import assert_same_weights, blobs, make_trainer, small_network, stacked

from monai_ima.attacks import PGD, attack_mode
from monai_ima.attacks.independence import refuse_batch_dependence
from monai_ima.evaluation import evaluate
from monai_ima.evaluation.attacked_images import names_of_images
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.handlers import IMAHandler, PGDTrainingHandler
from monai_ima.utils.predictor import Predictor

DIFFERENTLY = r"The network predicts a sample differently alone and in a batch of two \(by "
ALONE = r"The network predicts a sample in a batch of two and not alone \("
STUCK = r"Layer 'norm' \(BatchNorm1d\) stays in training mode when the network is put into evaluation mode"


class Functional(nn.Module):
    """Normalises by the batch, without a layer that says so; spatial values leave something of a single sample."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 3, 3), nn.Linear(12, 2)

    def forward(self, x):
        return self.last(functional.batch_norm(self.conv(x), None, None, training=True).flatten(1))


class FunctionalOfVectors(nn.Module):
    """Of a single sample nothing can be normalised: torch raises."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(functional.batch_norm(self.first(x.flatten(1)), None, None, training=True))


class Stuck(nn.Module):
    """Keeps a layer in training mode whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def train(self, mode=True):
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, x):
        return self.last(self.norm(self.first(x.flatten(1))))


class SecondOutput(nn.Module):
    """Its second output looks at the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network()

    def forward(self, x):
        return self.inner(x), self.inner(x) - 3 * self.inner(x).mean()


KINDS = [(Functional, DIFFERENTLY), (FunctionalOfVectors, ALONE), (Stuck, STUCK)]


def ima(**settings: Any) -> IMAHandler:
    return IMAHandler(2.0, **{"delta": 0.2, "steps": 2, "margin_steps": 2, "binary_steps": 1, **settings})


def bundle(network: nn.Module, loader: Any) -> LoadedBundle:
    def prepare(batchdata, device=None, **_):
        return batchdata["image"], batchdata["label"]

    return LoadedBundle(
        "test", network, loader, prepare, SimpleInferer(), torch.device("cpu"), None, None, [], None, True, {}
    )


def batch(items: list[dict[str, Any]]) -> dict[str, Any]:
    image, label = stacked(items)
    return {"image": image, "label": label, "sample_id": [item["sample_id"] for item in items]}


@pytest.mark.parametrize(("kind", "sentence"), KINDS)
@pytest.mark.parametrize(
    "make",
    [
        ima,
        lambda: ima(first_pass=True),
        lambda: ima(start_epoch=1),
        lambda: ima(attack_mode="train"),
        lambda: PGDTrainingHandler(0.5, steps=2),
    ],
)
def test_training_is_refused_before_its_first_step(kind, sentence, make):
    network = kind()
    before = {name: value.clone() for name, value in network.named_parameters()}
    with pytest.raises(ValueError, match=sentence):
        make_trainer(network, blobs(8), [make()], epochs=2).run()
    assert_same_weights(before, dict(network.named_parameters()))


@pytest.mark.parametrize(("kind", "sentence"), KINDS)
def test_evaluate_is_refused_and_writes_nothing(kind, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        evaluate(kind(), [batch(blobs(8))], [0.5], "l2", "pgd2", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "sentence"), KINDS)
def test_attacked_images_are_refused_before_the_first_attack(kind, sentence):
    with pytest.raises(ValueError, match=sentence):
        names_of_images(bundle(kind(), [batch(blobs(8))]))


def test_the_first_batch_of_two_samples_tells():
    loader = [batch(blobs(1, seed=1)), batch(blobs(4))]
    with pytest.raises(ValueError, match=DIFFERENTLY):
        names_of_images(bundle(Functional(), loader))
    assert len(names_of_images(bundle(Functional(), loader[:1]))) == 1


def test_a_layer_stuck_in_training_mode_is_refused_by_every_attack_and_keeps_its_modes():
    network = Stuck().eval()
    network.first.train()
    modes = [module.training for module in network.modules()]
    image, label = stacked(blobs(4))
    with pytest.raises(ValueError, match=STUCK):
        PGD("l2", 2)(network, image, label, 0.5)
    assert [module.training for module in network.modules()] == modes
    with attack_mode(network, "train"):
        assert network.norm.training


def test_the_output_that_counts_is_the_one_that_is_looked_at():
    def trainer(output):
        choice = {} if output is None else {"output": output}
        return make_trainer(
            SecondOutput(),
            blobs(8),
            [PGDTrainingHandler(0.5, steps=2, **choice)],
            loss_function=lambda prediction, label: functional.cross_entropy(prediction[0], label),
        )

    trainer(None).run()
    with pytest.raises(ValueError, match=DIFFERENTLY):
        trainer(1).run()


def test_extra_inputs_follow_their_samples():
    image, extra = torch.rand(4, 1, 4, 4), torch.arange(4.0)[:, None] * 100
    network = small_network()
    predict = Predictor(lambda x, call, more: call(x) + more, network, 4, (extra,))
    assert refuse_batch_dependence(predict, image)
    swapped = Predictor(lambda x, call, more: call(x) + more.flip(0)[: len(x)], network, 4, (extra,))
    with pytest.raises(ValueError, match=DIFFERENTLY):
        refuse_batch_dependence(swapped, image)


def test_a_random_network_is_left_alone():
    predict = Predictor.of(lambda x: x.flatten(1) + torch.rand(len(x), 16), 4)
    assert refuse_batch_dependence(predict, torch.rand(4, 1, 4, 4))


class Tracked(nn.Module):
    """Leaves traces wherever a network can: mode, buffers, random numbers, its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = small_network(dropout=0.5), nn.BatchNorm2d(1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        random.random()
        torch.rand(3)
        return self.inner(self.norm(x.mul_(0.5)))


def test_the_check_leaves_no_trace():
    network = Tracked()
    network.norm.eval()
    image = torch.rand(4, 1, 4, 4, requires_grad=True)
    given = image.detach().clone()
    state, modes = {k: v.clone() for k, v in network.state_dict().items()}, [m.training for m in network.modules()]
    buffers = dict(network.named_buffers())
    drawn = torch.get_rng_state(), random.getstate()
    assert refuse_batch_dependence(Predictor.of(network, 4), image)
    assert_same_weights(state, network.state_dict())
    assert all(value is buffers[name] for name, value in network.named_buffers())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(drawn[0], torch.get_rng_state())
    assert drawn[1] == random.getstate()
    assert torch.equal(image, given)
    assert image.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_half_precision_of_the_training_is_no_dependence():
    image = torch.rand(4, 1, 4, 4)
    seen = []

    class Typed(nn.Module):
        def forward(self, x):
            seen.append((x.flatten(1) @ torch.ones(16, 2)).dtype)
            return x.flatten(1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert refuse_batch_dependence(Predictor.of(Typed(), 4), image)
    assert set(seen) == {torch.float32}


def test_a_scripted_network_can_be_checked():
    network = torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)))
    assert refuse_batch_dependence(Predictor.of(network, 4), torch.rand(4, 1, 4, 4))
    assert network.training
