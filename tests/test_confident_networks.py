"""Attacks keep their direction however confident a classifier is: distances of linear networks in closed form."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_ima.attacks import DDN, PGD, BoundaryPGD, MinimumNorm
from monai_ima.criteria import BinaryCriterion

SHAPES = {1: (40,), 2: (1, 10, 12), 3: (1, 5, 6, 7)}
NORMS = ("l2", "linf")
GAPS = [0.1, 0.3, 1.0, 3.0, 10.0, 17.0, 25.0, 40.0, 50.0, 80.0, 120.0, 200.0]
"""|z_1 - z_0| of the samples; cross-entropy's gradient is rounded in float32 from about 17 on, and 0 from about 104."""

ATTACKS = {
    "PGD's first crossing": lambda norm, loss: PGD(norm, 20, 1, random_start=False, loss=loss),
    "BoundaryPGD": lambda norm, loss: BoundaryPGD(norm, 50, loss=loss),
    "DDN": lambda norm, loss: DDN(100, loss=loss),
    "MinimumNorm": lambda norm, loss: MinimumNorm(norm, 50, loss=loss),
}
CASES = [(name, norm) for name in ATTACKS for norm in NORMS if (name, norm) != ("DDN", "linf")]


def linear_problem(dims, symmetric=False):
    """A linear network of two classes, images whose gaps are GAPS, labels, and distances by norm in float64."""
    generator = torch.Generator().manual_seed(dims)
    shape = SHAPES[dims]
    size = math.prod(shape)
    weight = torch.randn(2, size, generator=generator)
    bias = torch.randn(2, generator=generator)
    if symmetric:
        weight, bias = torch.stack([-weight[1] / 2, weight[1] / 2]), torch.zeros(2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(size, 2))
    network[1].weight.data, network[1].bias.data = weight, bias
    w, b = (weight[1] - weight[0]).double(), (bias[1] - bias[0]).double()
    signs = torch.tensor([1.0, -1.0]).repeat(len(GAPS) // 2).double()
    flat = torch.randn(len(GAPS), size, generator=generator).double()
    flat = flat + ((torch.tensor(GAPS).double() * signs - flat @ w - b) / w.square().sum())[:, None] * w
    image = flat.float().reshape(len(GAPS), *(shape if len(shape) > 1 else (1, *shape)))
    gap = image.flatten(1).double() @ w + b
    distance = {"l2": gap.abs() / w.norm(), "linf": gap.abs() / w.abs().sum()}
    return network.requires_grad_(False), image, (gap > 0).long(), distance


def ratios(attack, network, image, label, distance, within=0.01):
    """Found over true distance, inf where none is found; PGD gets balls that are larger by ``within`` at most."""
    ball = 1 + 0.8 * within if isinstance(attack, PGD) else 1.5
    result = attack(network, image, label, ball * distance.float())
    return torch.where(result.success, result.distance.double() / distance, math.inf)


def cross_entropy(logits, label):
    return F.cross_entropy(logits.float(), label, reduction="none")


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_distances_are_the_closed_form_for_every_gap_of_the_logits(name, norm, dims):
    network, image, label, distance = linear_problem(dims)
    found = ratios(ATTACKS[name](norm, None), network, image, label, distance[norm])
    assert found.min() > 0.99
    assert found.max() < 1.01


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case != ("MinimumNorm", "l2")])
def test_with_cross_entropy_they_are_not(name, norm, dims):
    """Minimum norm in L2 bisects a line that small gaps have shown; it alone is not blinded here."""
    network, image, label, distance = linear_problem(dims)
    found = ratios(ATTACKS[name](norm, cross_entropy), network, image, label, distance[norm])
    assert not found.max() < 1.1


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_distances_hold_with_logits_of_bfloat16(name, norm, dims):
    """Within 3 %; the two logits are z and -z, so that rounding to 8 bits does not itself move the boundary."""
    network, image, label, distance = linear_problem(dims, symmetric=True)

    def rounded(batch):
        return network(batch).bfloat16()

    found = ratios(ATTACKS[name](norm, None), rounded, image, label, distance[norm], 0.03)
    assert found.min() > 0.97
    assert found.max() < 1.03


@pytest.mark.parametrize("norm", NORMS)
def test_distances_hold_under_autocast(norm):
    """Autocast rounds the image as well, which moves a boundary that is as near as that rounding: gaps from 10 on."""
    network, image, label, distance = linear_problem(2, symmetric=True)
    wide = torch.tensor(GAPS) >= 10

    def autocast(batch):
        with torch.autocast("cpu", torch.bfloat16):
            return network(batch)

    for name, attack in ATTACKS.items():
        if (name, norm) in CASES:
            found = ratios(attack(norm, None), autocast, image, label, distance[norm], 0.03)[wide]
            assert found.min() > 0.97
            assert found.max() < 1.03


@pytest.mark.parametrize("norm", NORMS)
def test_a_single_logit_is_climbed_by_its_sign(norm):
    two, image, label, distance = linear_problem(2)

    def single(batch):
        logits = two(batch)
        return logits[:, 1:] - logits[:, :1]

    attack = BoundaryPGD(norm, 50, criterion=BinaryCriterion())
    found = ratios(attack, single, image, label[:, None], distance[norm])
    assert found.min() > 0.99
    assert found.max() < 1.01


def test_where_a_gradient_is_exactly_zero_a_random_direction_is_taken():
    """A plateau around each image, and the boundary a little further out: at the image nothing says where to go."""

    def plateau(batch):
        outside = (batch.flatten(1).norm(dim=1) - 0.2).relu()
        return torch.stack([outside, 0.1 + 0 * outside], dim=1)

    image, label = torch.zeros(8, 1, 5, 5), torch.ones(8, dtype=torch.long)
    for attack in (BoundaryPGD("l2", 20), PGD("l2", 20, 1, random_start=False)):
        result = attack(plateau, image, label, 1.0)
        assert result.success.all(), type(attack).__name__
    result = BoundaryPGD("l2", 20, 20)(plateau, image, label, 1.0)
    torch.testing.assert_close(result.distance, torch.full((8,), 0.3), rtol=1e-3, atol=0)
