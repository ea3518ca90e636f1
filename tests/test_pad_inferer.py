"""Padding for the network only: predictions come back at the volume's size, and no noise is spent outside of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

from monai_ima.inferers import GradientSlidingWindowInferer, PadInferer, gradient_inferer


def test_the_network_sees_a_padded_volume_and_the_prediction_is_cut_back():
    seen = []

    def network(x):
        seen.append(tuple(x.shape))
        return x * 2, {"low": x[..., ::2]}

    image = torch.randn(2, 1, 5, 8, 3)
    out, rest = PadInferer(k=(4, 4, 2), min_size=(0, 0, 7))(image, network)
    assert seen == [(2, 1, 8, 8, 8)]
    assert torch.equal(out, image * 2)
    assert rest["low"].shape == (2, 1, 8, 8, 4)
    assert torch.equal(PadInferer(k=2)(image[:, :, :4], lambda x: x)[..., 0], image[:, :, :4, :, 0])


def test_both_sides_are_padded_with_zeros_alike():
    padded = PadInferer(min_size=6)(torch.ones(1, 1, 3, 4), lambda x: x.sum().expand(1, 1, 1, 1) + 0 * x[..., :1, :1])
    assert float(padded.flatten()[0]) == 12
    kept = []
    PadInferer(min_size=6)(torch.ones(1, 1, 3, 4), lambda x: kept.append(x) or x)
    assert torch.equal(kept[0], F.pad(torch.ones(1, 1, 3, 4), (1, 1, 1, 2)))


def test_the_gradient_is_that_of_the_padded_graph():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv3d(3, 2, 3, padding=1))
    image = torch.randn(1, 1, 7, 9, 6)
    plain: Any = SlidingWindowInferer((8, 8, 8), overlap=0.5)
    inferer = gradient_inferer(PadInferer(plain, min_size=8))
    assert isinstance(inferer, PadInferer)
    assert isinstance(inferer.inferer, GradientSlidingWindowInferer)
    gradients = []
    for run in (
        lambda x: inferer(x, network),
        lambda x: plain(F.pad(x, (1, 1, 0, 0, 0, 1)), network)[:, :, :7, :, 1:7],
    ):
        x = image.clone().requires_grad_()
        gradients.append(torch.autograd.grad(run(x).square().sum(), x)[0])
    assert torch.equal(*gradients)


def test_metadata_stay():
    image = MetaTensor(torch.randn(1, 1, 3, 4, 5), affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))[None])
    out = PadInferer(k=4)(image, lambda x: x + 1)
    assert torch.equal(out.affine, image.affine)
    assert out.shape == image.shape


@pytest.mark.parametrize("arguments", [{"k": 0}, {"k": (2, 0.5)}, {"min_size": -1}])
def test_bad_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match="expected an integer >="):
        PadInferer(**arguments)
