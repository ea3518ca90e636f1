"""Step lengths that fall along a cosine, and the walk from the clean image to the surface of the ball."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from monai_ima.attacks import PGD, BoundaryPGD
from monai_ima.attacks.pgd import PathAttack
from monai_ima.handlers import IMAHandler, PGDTrainingHandler
from monai_ima.methods import IMA, PGDTraining


def lengths(attack: PathAttack, from_clean: bool) -> list[float]:
    return [attack.step_length(k, from_clean) for k in range(attack.steps)]


def test_lengths_fall_along_half_a_cosine_from_a_random_start():
    found = lengths(PGD("l2", 5, schedule="cosine"), from_clean=False)
    middle = (1.5 + 0.05) / 2
    quarter = middle + (1.5 - 0.05) / 2 * math.cos(math.pi / 4)
    assert found == pytest.approx([1.5, quarter, middle, 2 * middle - quarter, 0.05])


@pytest.mark.parametrize(("steps", "walk"), [(12, 4), (11, 4), (8, 3), (3, 1), (2, 1)])
def test_a_third_of_the_steps_walk_out_from_the_clean_image(steps, walk):
    found = lengths(BoundaryPGD("l2", steps, schedule="cosine"), from_clean=True)
    assert found[:walk] == pytest.approx([1 / walk] * walk)
    assert found[walk] == pytest.approx(1.5)
    assert found[walk:] == sorted(found[walk:], reverse=True)
    assert steps - walk < 2 or found[-1] == pytest.approx(0.05)
    assert lengths(BoundaryPGD("l2", 1, schedule="cosine"), from_clean=True) == [1.0]


def test_constant_steps_are_alpha_over_n_wherever_they_start():
    assert lengths(PGD("l2", 4), True) == lengths(PGD("l2", 4, alpha=4.0), False) == [1.0] * 4
    assert lengths(BoundaryPGD("l2", 5, alpha=2.0), True) == [0.4] * 5


class Seen(nn.Module):
    """A linear network of two classes that never crosses, and the largest noise of each image it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: list[float] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.noise.append(float(image.detach().abs().max()))
        score = 100 + image.flatten(1).sum(dim=1)
        return torch.stack([score, -score], dim=1)


def test_the_walk_reaches_the_surface_in_equal_steps():
    network = Seen()
    BoundaryPGD("linf", 12, schedule="cosine")(network, torch.zeros(1, 1, 3), torch.tensor([0]), eps=0.8)
    clean, *path = network.noise
    assert clean == 0
    assert path == pytest.approx([0.2, 0.4, 0.6] + [0.8] * 9)


@pytest.mark.parametrize("start", ["clean", "ball"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_boundary_of_a_linear_network_is_met_at_its_distance(norm, start):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 2))
    image = torch.randn(30, 1, 4, 5)
    logits = network(image)
    label = logits.argmax(dim=1)
    weight = network[1].weight[0] - network[1].weight[1]
    dual = weight.norm() if norm == "l2" else weight.abs().sum()
    distance = ((logits[:, 0] - logits[:, 1]).abs() / dual).detach()
    result = BoundaryPGD(norm, 12, 20, start, schedule="cosine")(network, image, label, eps=1.5 * distance)
    assert result.success.all()
    if start == "clean":
        torch.testing.assert_close(result.distance, distance, rtol=1e-3, atol=1e-5)
    assert (result.distance >= distance * (1 - 1e-3)).all()
    none = BoundaryPGD(norm, 12, schedule="cosine")(network, image, label, eps=0.99 * distance)
    assert not none.success.any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_8_cosine_steps_reach_the_loss_of_20_constant_ones(norm):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 32), nn.Tanh(), nn.Linear(32, 4)
    )
    image = torch.rand(64, 1, 8, 8)
    label = network(image).argmax(dim=1)
    loss = PGD(norm).criterion.loss

    def gain(steps: int, schedule: str) -> float:
        attack = PGD(norm, steps, 1, early_stop=False, schedule=schedule)
        found = attack(network, image, label, eps=1.0 if norm == "l2" else 0.15).image
        return float((loss(network(found), label) - loss(network(image), label)).mean())

    few, many, short = gain(8, "cosine"), gain(20, "constant"), gain(8, "constant")
    assert few >= 0.995 * many
    assert few > short


@pytest.mark.parametrize(
    "make", [PGD, BoundaryPGD, lambda **named: IMA(1.0, **named), lambda **named: PGDTraining(1.0, **named)]
)
def test_bad_schedules_are_refused(make):
    with pytest.raises(ValueError, match=r"schedule.*'falling'.*'constant'.*'cosine'"):
        make(schedule="falling")
    with pytest.raises(ValueError, match=r"alpha 2.0 and schedule 'cosine', expected alpha for 'constant' only"):
        make(schedule="cosine", alpha=2.0)
    assert make(schedule="constant", alpha=2.0)


def test_the_handlers_of_training_climb_in_cosine_steps_unless_told_otherwise():
    method: Any = IMAHandler(1.0).method
    attacks = {"training": method.training_attack, "margin": method.margin_attack}
    assert {name: (attack.schedule, attack.steps) for name, attack in attacks.items()} == {
        "training": ("cosine", 11),
        "margin": ("cosine", 25),
    }
    fixed: Any = PGDTrainingHandler(1.0).method
    assert fixed.attack.schedule == "cosine"
    paper: Any = IMAHandler(1.0, schedule="constant", steps=20, margin_steps=50).method
    assert paper.training_attack.step_length(0, True) == pytest.approx(0.2)
    assert paper.margin_attack.step_length(0, True) == pytest.approx(0.08)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_clean_pass_serves_the_first_step_and_changes_nothing(norm, monkeypatch):
    """Beside the same attack with a pass of its own; samples that are wrong when clean are in the kept pass only."""
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3))
    image = torch.rand(12, 1, 8, 8)
    label = network(image).argmax(dim=1)
    label[::4] = (label[::4] + 1) % 3
    shown: list[tuple[int, bool]] = []
    network.register_forward_pre_hook(lambda _, inputs: shown.append((len(inputs[0]), inputs[0].requires_grad)))
    eps = 0.3 if norm == "l2" else 0.05

    def found(attack: PathAttack) -> Any:
        shown.clear()
        return attack(network, image, label, eps)

    attacks = [
        lambda: BoundaryPGD(norm, 6, schedule="cosine"),
        lambda: PGD(norm, 6, 2, random_start=False, schedule="cosine"),
    ]
    kept = [found(make()) for make in attacks]
    found(attacks[0]())
    assert shown[:2] == [(12, True), (9, True)], "the clean images once, then the first step's"
    monkeypatch.setattr(PathAttack, "goes_on_from_clean", False)
    for make, before in zip(attacks, kept, strict=True):
        after = found(make())
        assert shown[:3] == [(12, False), (9, True), (9, True)]
        assert torch.equal(before.success, after.success)
        torch.testing.assert_close(before.image, after.image, rtol=1e-5, atol=1e-6)
        assert 0 < int(after.success.sum()) < 9
