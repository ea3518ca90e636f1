from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from monai_ima.data import shapes_phantom
from monai_ima.networks import FashionMNISTNet, SVHNNet, WideResNet

SMALL = {"fashion_mnist": (FashionMNISTNet, (1, 28, 28)), "svhn": (SVHNNet, (3, 32, 32))}
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs, outputs, size=3):
    return inputs * outputs * size * size


def linear(inputs, outputs):
    return (inputs + 1) * outputs


def wide_resnet_parameters(depth, widen_factor, num_classes=10, in_channels=3):
    """Counted from the description in the paper: Table 1, section 2 and pre-activation of He et al. 2016."""
    total, channels = convolution(in_channels, 16), 16
    for base in (16, 32, 64):
        width = base * widen_factor
        for _ in range((depth - 4) // 6):
            total += 2 * channels + convolution(channels, width) + 2 * width + convolution(width, width)
            total += convolution(channels, width, size=1) if channels != width else 0
            channels = width
    return total + 2 * channels + linear(channels, num_classes)


@pytest.mark.parametrize(
    ("depth", "widen_factor", "millions"), [(28, 4, 5.85), (28, 10, 36.5), (40, 4, 8.9), (16, 8, 11.0)]
)
def test_a_wide_resnet_has_the_parameters_that_its_paper_states(depth, widen_factor, millions):
    found = parameters(WideResNet(depth, widen_factor))
    assert found == wide_resnet_parameters(depth, widen_factor)
    assert found / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("settings", [(10, 1, 4, 1), (16, 2, 7, 3)])
def test_other_wide_resnets(settings):
    network = WideResNet(*settings)
    assert parameters(network) == wide_resnet_parameters(*settings)
    assert network(torch.rand(2, settings[3], 20, 24)).shape == (2, settings[2])


def test_a_narrowest_wide_resnet_keeps_its_first_block_without_a_detour():
    shortcuts = [name for name, _ in WideResNet(10, 1).named_parameters() if "shortcut" in name]
    assert shortcuts == ["groups.1.0.shortcut.weight", "groups.2.0.shortcut.weight"]


def test_the_second_and_third_group_halve_the_image():
    network = WideResNet(10, 2)
    image, sides = torch.rand(1, 3, 32, 32), []
    image = network.stem(image)
    for group in network.groups:
        image = group(image)
        sides.append(tuple(image.shape[1:]))
    assert sides == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


def test_dropout_acts_in_training_only():
    network = WideResNet(10, 1, dropout=0.5)
    image = torch.rand(4, 3, 32, 32)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("name", SMALL)
def test_the_small_networks_are_as_large_as_their_docstrings_say(name):
    network, _ = SMALL[name]
    count = parameters(network())
    assert f"{count:,} parameters".replace(",", " ") in network.__doc__
    assert 100_000 < count < 500_000
    expected, channels, side = 0, network().in_channels, network().size
    for width, stride in __import__(network.__module__, fromlist=["CONVOLUTIONS"]).CONVOLUTIONS:
        expected += convolution(channels, width) + width + 2 * width
        channels, side = width, side // stride
    assert count == expected + linear(channels * side**2, 128) + linear(128, 10)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_does_not_look_at_the_other_samples_of_a_batch(name):
    network, shape = SMALL[name]
    network = network()
    assert not any(isinstance(module, BATCH_NORM) for module in network.modules())
    image = torch.rand(5, *shape, requires_grad=True)
    logits = network.train()(image)
    assert logits.shape == (5, 10)
    assert torch.allclose(logits[:1], network(image[:1]), atol=1e-5)
    assert torch.allclose(logits, network.eval()(image))
    (gradient,) = torch.autograd.grad(logits[2].sum(), image)
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3, 4]].abs().sum() == 0


def test_the_number_of_classes_can_be_chosen():
    for network, shape in SMALL.values():
        assert network(num_classes=3)(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (FashionMNISTNet(), (2, 3, 28, 28), r"Got images of shape \[2, 3, 28, 28\], expected \[B, 1, 28, 28\]"),
        (FashionMNISTNet(), (1, 28, 28), r"expected \[B, 1, 28, 28\]"),
        (SVHNNet(), (2, 3, 28, 28), r"expected \[B, 3, 32, 32\]"),
        (WideResNet(10, 1), (2, 1, 32, 32), r"Got images of shape \[2, 1, 32, 32\], expected \[B, 3, height, width\]"),
        (WideResNet(10, 1), (3, 32, 32), r"expected \[B, 3, height, width\]"),
    ],
)
def test_images_of_another_shape_are_refused(network, shape, words):
    with pytest.raises(ValueError, match=words):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 27}, "depth 27, expected 10, 16"),
        ({"depth": 4}, "depth 4"),
        ({"widen_factor": 0}, "widen_factor 0"),
        ({"num_classes": 2.5}, "num_classes 2.5"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        WideResNet(**settings)


@pytest.mark.parametrize("network", [FashionMNISTNet, SVHNNet, lambda: WideResNet(10, 1)])
def test_a_scripted_network_gives_the_same(network):
    network = network().eval()
    shape = next((shape for kind, shape in SMALL.values() if isinstance(network, kind)), (3, 32, 32))
    image = torch.rand(2, *shape)
    assert torch.equal(torch.jit.script(network)(image), network(image))


def test_the_synthetic_shapes_can_be_learned():
    label = np.tile(np.arange(10), 120)
    image = torch.from_numpy(shapes_phantom(label, np.random.default_rng(0), 28)) / 255
    target = torch.from_numpy(label)
    network = FashionMNISTNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(5):
        for rows in torch.randperm(1000).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(image[rows]), target[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        right = (network(image[1000:]).argmax(1) == target[1000:]).float().mean()
    assert right > 0.5
