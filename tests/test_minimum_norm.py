"""The smallest perturbation that is found, against distances known in closed form."""

from __future__ import annotations

import pytest
import torch
from attack_problems import assert_alone_as_in_the_batch
from torch import nn

from monai_ima.attacks import MinimumNorm

SHAPE = (1, 5, 5)


@pytest.fixture(scope="module")
def linear():
    """A two-class linear network, images, labels and the distance of each to the boundary by norm."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(25, generator=generator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(25, 2))
    network[1].weight.data = torch.stack([torch.zeros(25), weight])
    network[1].bias.data = torch.tensor([0.1, 0.0])
    image = torch.randn(40, *SHAPE, generator=generator)
    gap = image.flatten(1) @ weight - 0.1
    label = (gap > 0).long()
    label[:4] = 1 - label[:4]
    distance = {"l2": gap.abs() / weight.norm(), "linf": gap.abs() / weight.abs().sum()}
    return network.requires_grad_(False), image, label, distance


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.0), ("linf", 0.25)])
def test_on_a_linear_network_it_is_the_closed_form(linear, norm, eps):
    network, image, label, distance = linear
    expected = distance[norm]
    result = MinimumNorm(norm)(network, image, label, eps)
    wrong = torch.arange(40) < 4
    assert not result.clean_correct[wrong].any()
    assert (result.distance[wrong] == 0).all()
    near = ~wrong & (expected < eps * 0.97)
    far = ~wrong & (expected > eps)
    assert near.sum() > 15
    assert far.sum() > 3
    assert result.success[near].all()
    assert not result.success[far].any()
    ratio = result.distance[near] / expected[near]
    assert ratio.min() > 1 - 1e-4
    assert ratio.max() < 1.02
    assert (network(result.image[near]).argmax(1) != label[near]).all()
    assert (network(result.image[far]).argmax(1) == label[far]).all()


def test_bounds_make_the_way_longer(linear):
    """Only one intensity counts and it may go up to 1: by hand."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(25, 2))
    weight = torch.zeros(25)
    weight[0], weight[1] = 3.0, 1.0
    network[1].weight.data = torch.stack([torch.zeros(25), weight])
    network[1].bias.data = torch.tensor([3.5, 0.0])
    network.requires_grad_(False)
    image = torch.full((1, *SHAPE), 0.5)
    free = MinimumNorm("l2")(network, image, torch.tensor([0]), 2.0)
    assert float(free.distance) == pytest.approx(1.5 / 10**0.5, rel=0.02)
    capped = MinimumNorm("l2", bounds=(0, 0.9))(network, image, torch.tensor([0]), 2.0)
    # 3 * 0.9 + x = 3.5 needs x = 0.8: steps of 0.4 and 0.3
    assert float(capped.distance) == pytest.approx(0.5, rel=0.02)
    assert float(capped.image.max()) <= 0.9


def test_a_sample_alone_is_a_sample_in_the_batch(linear):
    network, image, label, _ = linear
    attack = MinimumNorm("linf", 30, 4)
    assert_alone_as_in_the_batch(attack, network, image[4:10], label[4:10], torch.full((6,), 0.2), atol=1e-5)
