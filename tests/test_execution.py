"""The options of attacks that change their speed: the network compiled, in another memory format, in half precision."""

from typing import Any

import pytest
import torch
from torch import nn

from monai_ima.attacks import PGD, BoundaryPGD, WorstOf
from monai_ima.attacks.execution import Execution, _compiled
from monai_ima.handlers import IMAHandler
from monai_ima.utils.outputs import OneOutput
from monai_ima.utils.predictor import Predictor


class Net(nn.Module):
    """Two classes, with a vector per sample as a further input; notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.end = nn.Linear(4 * 16, 3)
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        self.seen.append(image.detach())
        logits = self.end(self.convolution(image).tanh().flatten(1))
        return logits if shift is None else logits + shift


@pytest.fixture
def problem():
    torch.manual_seed(0)
    network, image = Net(), torch.rand(11, 2, 4, 4)
    label = network(image).argmax(dim=1)
    label[3] = (label[3] + 1) % 3
    network.seen.clear()
    return network, image, label


@pytest.fixture
def compiled_by_nobody(monkeypatch):
    """``torch.compile`` that returns the network itself, and what it was asked."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network, **named: asked.append(named) or network.forward)
    _compiled.clear()
    yield asked
    _compiled.clear()


def test_a_compiled_network_sees_powers_of_two_only_and_says_the_same(problem, compiled_by_nobody):
    network, image, label = problem
    shift = torch.rand(11, 3)
    plain, options = BoundaryPGD("l2", 10), BoundaryPGD("l2", 10, compile=True)
    predict = Predictor(lambda x, call, *extra: call(x, *extra), network, 11, (shift,))
    label = (network(image, shift)).argmax(dim=1)
    without = plain(predict, image, label, eps=1.0)
    sizes = {len(shown) for shown in network.seen}
    assert not sizes <= {1, 2, 4, 8, 16}
    network.seen.clear()
    found = options(predict, image, label, eps=1.0)
    sizes = {len(shown) for shown in network.seen}
    assert sizes <= {1, 2, 4, 8, 16}
    assert len(sizes) > 1
    assert torch.equal(found.success, without.success)
    assert 0 < int(found.success.sum()) < 11
    torch.testing.assert_close(found.image, without.image, rtol=1e-4, atol=1e-5)
    assert compiled_by_nobody == [{"dynamic": False}]


def test_an_output_without_a_row_for_each_sample_comes_whole(compiled_by_nobody):
    class Two(nn.Module):
        def forward(self, image):
            return image.flatten(1), torch.tensor(5.0), torch.arange(7)

    run = Execution(compile=True).applied(Predictor.of(Two(), 3))
    logits, number, others = run(torch.rand(3, 1, 2))
    assert logits.shape == (3, 2)
    assert float(number) == 5
    assert others.tolist() == list(range(7))


def test_compiling_leaves_the_parameters_as_they_were(problem, compiled_by_nobody, monkeypatch):
    network, image, label = problem
    network.end.bias.requires_grad_(False)
    learned = []
    forward = network.forward
    monkeypatch.setattr(
        network, "forward", lambda *given: learned.append(network.end.weight.requires_grad) or forward(*given)
    )
    PGD("l2", 3, 1, compile=True)(network, image, label, eps=0.1)
    assert learned
    assert not any(learned)
    asks = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    assert asks == {"convolution.weight": True, "convolution.bias": True, "end.weight": True, "end.bias": False}
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_is_really_compiled_and_agrees(monkeypatch):
    torch.manual_seed(0)
    network, image = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)), torch.rand(5, 1, 4, 4)
    label = network(image).argmax(dim=1)
    compile_it = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **named: compile_it(net, backend="aot_eager", **named))
    without = BoundaryPGD("l2", 6, 4)(network, image, label, eps=2.0)
    found = BoundaryPGD("l2", 6, 4, compile=True)(network, image, label, eps=2.0)
    assert torch.equal(found.success, without.success)
    torch.testing.assert_close(found.distance, without.distance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "memory_format"), [((3, 2, 4, 4), torch.channels_last), ((3, 2, 4, 4, 4), torch.channels_last_3d)]
)
def test_images_are_handed_over_in_channels_last(shape, memory_format):
    seen = []

    def network(image):
        seen.append(image.is_contiguous(memory_format=memory_format))
        return image.flatten(1)[:, :2]

    result = PGD("l2", 2, 1, memory_format="channels_last")(network, torch.rand(shape), torch.tensor([0, 1, 0]), 0.1)
    assert seen
    assert all(seen)
    assert result.image.is_contiguous()


def test_signals_have_no_channels_last(problem):
    image, label = torch.rand(3, 2, 8), torch.tensor([0, 1, 0])
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    plain, options = PGD("l2", 2, 1), PGD("l2", 2, 1, memory_format="channels_last")
    assert torch.equal(plain(network, image, label, 0.1).image, options(network, image, label, 0.1).image)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_network_runs_under_autocast_and_answers_in_float32(name):
    kinds = []

    def network(image):
        kinds.append(torch.nn.functional.linear(image.flatten(1), torch.eye(4)).dtype)
        return {"logits": torch.nn.functional.linear(image.flatten(1), torch.eye(4)[:2])}

    attack = PGD("l2", 3, 1, autocast=name, output="logits")
    answers = attack.execution.applied(Predictor.of(network, 2))(torch.rand(2, 1, 4))
    assert answers["logits"].dtype == torch.float32
    assert kinds == [getattr(torch, name)]
    image, label = torch.tensor([[[0.9, 0.1, 0.0, 0.0]]]), torch.tensor([0])
    result = BoundaryPGD("l2", 20, autocast=name, output="logits")(network, image, label, eps=1.0)
    assert float(result.distance) == pytest.approx(0.8 / 2**0.5, rel=0.03)


def test_options_reach_the_attacks_of_a_handler_and_of_a_worst_of():
    options: dict[str, Any] = {"compile": True, "memory_format": "channels_last", "autocast": "bfloat16"}
    method: Any = IMAHandler(1.0, **options).method
    expected = Execution(**options)
    assert method.training_attack.execution == method.margin_attack.execution == expected
    assert WorstOf([PGD("l2", 2, 1, **options), PGD("l2", 3, 1, **options)]).execution == expected
    with pytest.raises(ValueError, match="different execution"):
        WorstOf([PGD("l2", 2, 1, **options), PGD("l2", 2, 1)])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"memory_format": "channels_first"}, r"memory_format 'channels_first', expected .*channels_last"),
        ({"autocast": "int8"}, r"autocast 'int8', expected .*bfloat16"),
    ],
)
def test_other_names_are_refused(options, sentence):
    for make in (PGD, BoundaryPGD, lambda **named: IMAHandler(1.0, **named)):
        with pytest.raises(ValueError, match=sentence):
            make(**options)


def test_what_cannot_be_compiled_is_refused():
    image, label = torch.rand(2, 1, 4), torch.tensor([0, 1])
    attack = PGD("l2", 2, 1, compile=True)
    with pytest.raises(ValueError, match="Got function with compile=True, expected a torch"):
        attack(lambda x: x.flatten(1), image, label, 0.1)
    with pytest.raises(ValueError, match="ScriptModule with compile"):
        attack(torch.jit.script(nn.Flatten()), image, label, 0.1)

    class Own:
        def __call__(self, image):
            return image.flatten(1)

        def select(self, index):
            return self

    with pytest.raises(ValueError, match="Got Own to attack, expected a network or a Predictor"):
        attack(Own(), image, label, 0.1)
    assert Execution().applied(Own) is Own
    assert isinstance(Execution(autocast="bfloat16").applied(OneOutput(Predictor.of(Own(), 2), 0)), OneOutput)
