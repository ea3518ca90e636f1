"""The search on the last step: the ITP method beside bisection, roots known from closed forms and from SciPy."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from monai_ima.attacks import BoundaryPGD
from monai_ima.attacks.health import Health
from monai_ima.attacks.line_search import Segment, bisect, interpolate
from monai_ima.attacks.target import Target
from monai_ima.criteria import Criterion
from monai_ima.methods import IMA
from monai_ima.perturbations.norms import get_norm

CURVES = {
    "line": lambda t: 0.3 - t,
    "cubic": lambda t: 0.2 - t**3,
    "exponential": lambda t: torch.exp(-3 * t) - 0.2,
    "flat, then steep": lambda t: 1 - torch.exp(6 * (t - 0.8)),
    "step": lambda t: (t < 0.37).to(t) - 0.001,
    "lopsided": lambda t: torch.where(t < 0.9, 1e-6 * (0.9 - t), 1e6 * (0.9 - t)),
    "wave": lambda t: 0.6 - t + 0.2 * torch.sin(9 * t),
}


class Above(Criterion):
    """Correct where the score, the network's output itself, is above a limit of each sample's own."""

    def __init__(self, limit: torch.Tensor) -> None:
        self.limit = limit

    def score(self, logits, label):
        return logits.flatten()

    def decide(self, score):
        return score > self.limit

    def loss(self, logits, label):
        return -logits.flatten()

    def select(self, index):
        return Above(self.limit[index])


def on_a_line(curves: list[Any], limit: torch.Tensor) -> tuple[Target, Segment]:
    """Samples whose image is one number t, from 0 (correct) to 1; sample k's score is curve k at t, plus its limit."""
    clean, far = (torch.full((len(curves), 1, 1), value, dtype=torch.float64) for value in (0.0, 1.0))

    def network(image: torch.Tensor) -> torch.Tensor:
        return (
            torch.stack([curve(t) for curve, t in zip(curves, image.flatten(), strict=True)])[:, None] + limit[:, None]
        )

    criterion, rows, label = Above(limit), torch.arange(len(curves)), torch.zeros(len(curves)).long()
    score = network(clean).flatten()
    health = Health(len(curves), clean.device)
    target = Target(
        network, get_norm("l2"), None, rows, clean, label, far.flatten(), criterion, None, score, score > limit, health
    )
    return target, Segment(clean, far, score, network(far).flatten())


@pytest.fixture(params=[0.0, 0.9, -200.0])
def line(request):
    return on_a_line(list(CURVES.values()), torch.full((len(CURVES),), request.param, dtype=torch.float64))


@pytest.mark.parametrize("steps", range(9))
def test_the_itp_method_is_never_worse_than_one_bisection_less(line, steps):
    target, segment = line
    found = interpolate(target, segment, steps)
    near, far = found.correct.flatten(), found.misclassified.flatten()
    assert target.predict(found.correct).correct.all()
    assert not target.predict(found.misclassified).correct.any()
    assert (far - near <= min(1.0, 2.0 ** (1 - steps)) + 1e-12).all()
    torch.testing.assert_close(found.correct_score, target.predict(found.correct).score)
    torch.testing.assert_close(found.wrong_score, target.predict(found.misclassified).score)


@pytest.mark.parametrize("name", ["line", "cubic", "exponential", "wave"])
def test_on_smooth_scores_it_comes_nearer_in_5_points_than_bisection_in_8(name):
    curve = CURVES[name]
    root = brentq(lambda t: float(curve(torch.tensor(t, dtype=torch.float64))), 0, 1, xtol=1e-14)
    target, segment = on_a_line([curve], torch.tensor([0.4], dtype=torch.float64))
    error = root - float(interpolate(target, segment, 5).correct)
    halved = bisect(target, segment, 8)
    assert float(halved.misclassified - halved.correct) == 2**-8
    assert 0 <= error < 2**-8


def test_every_sample_is_searched_as_if_alone(line):
    target, segment = line
    together = interpolate(target, segment, 5)
    curves = list(CURVES.values())
    for k, curve in enumerate(curves):
        one, part = on_a_line([curve], target.criterion.limit[:1])
        assert torch.equal(interpolate(one, part, 5).correct[0], together.correct[k])


def test_scores_in_bfloat16_are_searched_in_the_precision_of_the_images(line):
    target, segment = line
    coarse = replace(
        segment, correct_score=segment.correct_score.bfloat16(), wrong_score=segment.wrong_score.bfloat16()
    )
    found = interpolate(target, coarse, 6)
    assert found.correct.dtype == torch.float64
    assert target.predict(found.correct).correct.all()
    assert (found.misclassified - found.correct <= 2.0**-5 + 1e-12).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_boundary_points_are_on_the_boundary_of_a_linear_network(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 2))
    image = torch.randn(30, 1, 4, 5)
    logits = network(image).detach()
    weight = (network[1].weight[0] - network[1].weight[1]).detach()
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weight.norm() if norm == "l2" else weight.abs().sum())
    for restarts in (1, 3):
        attack = BoundaryPGD(norm, 12, 7, restarts=restarts, schedule="cosine")
        result = attack(network, image, logits.argmax(1), eps=1.5 * distance)
        assert result.success.all()
        torch.testing.assert_close(result.distance, distance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_samples_that_cross_at_different_steps_are_searched_as_if_alone(norm):
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    image = torch.randn(12, 1, 4, 5)
    label = network(image).argmax(1)
    attack = BoundaryPGD(norm, 12, 2, schedule="cosine")
    eps = torch.linspace(0.5, 6.0, 12) * (1.0 if norm == "l2" else 0.25)
    together = attack(network, image, label, eps)
    alone = [attack(network, image[[k]], label[[k]], eps[[k]]) for k in range(12)]
    steps = (together.distance / eps)[together.success]
    assert len(steps) > 4
    assert steps.max() > 2 * steps.min(), "they cross at different steps"
    torch.testing.assert_close(together.image, torch.cat([one.image for one in alone]), rtol=1e-4, atol=1e-5)


def test_constant_steps_are_bisected_and_cosine_steps_interpolated_unless_told_otherwise():
    def chosen(attack: BoundaryPGD) -> tuple[str, int]:
        return attack.search, attack.binary_steps

    assert chosen(BoundaryPGD()) == ("bisection", 10)
    assert chosen(BoundaryPGD(schedule="cosine")) == ("itp", 4)
    assert chosen(BoundaryPGD(schedule="cosine", search="bisection")) == ("bisection", 10)
    assert chosen(BoundaryPGD(search="itp", binary_steps=7)) == ("itp", 7)
    assert chosen(IMA(1.0).margin_attack) == ("itp", 4)
    assert chosen(IMA(1.0, schedule="constant").training_attack) == ("bisection", 10)
    assert chosen(IMA(1.0, search="bisection", binary_steps=6).training_attack) == ("bisection", 6)


@pytest.mark.parametrize("make", [BoundaryPGD, lambda **named: IMA(1.0, **named)])
def test_another_search_is_refused(make):
    with pytest.raises(ValueError, match=r"search.*'secant'.*'bisection'.*'itp'"):
        make(search="secant")
