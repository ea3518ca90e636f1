"""B-PGD's distances are margins: near the smallest distance that anything finds, on a trained network of 784 inputs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from attack_problems import assert_alone_as_in_the_batch
from torch import nn

from monai_ima.attacks import DDN, BoundaryPGD, MinimumNorm

SIDE, COUNT = 28, 40
NORMS = {"l2": 6.0, "linf": 0.4}
"""ε_max, far beyond the margins, as in the first epochs of a training."""


@pytest.fixture(scope="module")
def problem():
    """A convolutional network trained on SYNTHETIC noisy stripes of three kinds; its correctly classified images."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    label = torch.arange(3).repeat(200)
    column, row = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    stripes = torch.stack([torch.sin(0.7 * column), torch.sin(0.7 * row), torch.sin(0.5 * (row + column))])
    image = (0.5 + 0.3 * torch.rand(600, 1, 1) * stripes[label] + 0.1 * torch.randn(600, SIDE, SIDE))[:, None]
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.LeakyReLU(), nn.Conv2d(8, 16, 5, 2, 2), nn.LeakyReLU(), nn.Flatten(),
        nn.Linear(16 * 49, 64), nn.LeakyReLU(), nn.Linear(64, 3),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 0.002)
    for _ in range(6):
        for rows in torch.randperm(600).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(image[rows]), label[rows]).backward()
            optimizer.step()
    network.requires_grad_(False)
    rows = (network(image).argmax(1) == label).nonzero().squeeze(1)[:COUNT]
    return network, image[rows], label[rows]


@pytest.fixture(scope="module")
def smallest(problem):
    """The smallest distance that minimum-norm search and (L2) DDN find: an upper bound of the true one."""
    found = {}
    for norm, eps in NORMS.items():
        attacks = [MinimumNorm(norm, 100), *([DDN(300, init_eps=0.5), DDN(300)] if norm == "l2" else [])]
        results = [attack(*problem, eps) for attack in attacks]  # type: ignore[call-arg]
        found[norm] = torch.stack([torch.where(r.success, r.distance, math.inf) for r in results]).amin(dim=0)
        assert found[norm].isfinite().all()
    return found


def ratios(problem, smallest, norm, **settings):
    result = BoundaryPGD(norm, steps=50, **settings)(*problem, NORMS[norm])  # type: ignore[call-arg]
    assert result.success.all()
    return result.distance / smallest[norm]


@pytest.mark.parametrize("norm", NORMS)
def test_from_the_clean_image_the_margin_is_at_most_a_tenth_too_long(problem, smallest, norm):
    found = ratios(problem, smallest, norm)
    assert found.median() < 1.1
    assert found.quantile(0.9) < 1.5


@pytest.mark.parametrize("norm", NORMS)
def test_from_the_ball_it_is_too_long_by_a_factor(problem, smallest, norm):
    assert ratios(problem, smallest, norm, start="ball", delta=0.01).median() > 2


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_bring_the_margin_nearer_and_never_further(problem, smallest, norm):
    once, again = (ratios(problem, smallest, norm, restarts=k) for k in (1, 3))
    assert (again <= once * (1 + 5e-3)).all(), "but for what bisection leaves of a step"
    assert again.median() < once.median()
    from_ball = ratios(problem, smallest, norm, start="ball", restarts=3)
    assert from_ball.median() < 1.5


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("restarts", [1, 3])
def test_a_margin_ends_on_the_correct_side_with_the_boundary_just_behind(problem, norm, restarts):
    network, image, label = problem
    result = BoundaryPGD(norm, steps=50, restarts=restarts)(network, image, label, NORMS[norm])
    assert (network(result.image).argmax(1) == label).all()
    if restarts > 1:
        beyond = image + (result.image - image) * (1 + 2**-9)
        assert (network(beyond).argmax(1) != label).all(), "the chord from the clean image ends at the boundary"


def test_every_sample_of_a_batch_has_the_margin_that_it_has_alone(problem):
    network, image, label = problem
    attack = BoundaryPGD("l2", steps=12, restarts=3)
    assert_alone_as_in_the_batch(attack, network, image[:6], label[:6], torch.full((6,), 2.0), atol=1e-5)
