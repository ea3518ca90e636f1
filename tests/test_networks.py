from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from monai_ima.data import shapes_phantom
from monai_ima.networks import ECGNet, FashionMNISTNet, OCTNet, SVHNNet, WideResNet

SMALL_OCT = {"channels": (4, 8, 8, 8), "blocks": (1, 1, 1, 1)}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs, outputs, size=3):
    return inputs * outputs * size * size


def linear(inputs, outputs):
    return (inputs + 1) * outputs


def cov(a, b, c, d, e):
    """COV (a, b, c, d, e) of the paper: channels in and out, kernel size, stride, padding."""
    return nn.Conv2d(a, b, kernel_size=c, stride=d, padding=e)


def ecg_of_the_paper():
    def cov_1d(a, b, c, d, e):
        return [nn.Conv1d(a, b, kernel_size=c, stride=d, padding=e), nn.LeakyReLU()]

    convolutions = [
        *cov_1d(1, 32, 5, 2, 2),
        *cov_1d(32, 32, 5, 2, 2),
        *cov_1d(32, 32, 5, 2, 2),
        *cov_1d(32, 32, 5, 2, 2),
    ]
    hidden = [nn.Linear(384, 128), nn.LeakyReLU(), nn.Linear(128, 128), nn.LeakyReLU()]
    return [*convolutions, nn.Flatten(), *hidden, nn.Linear(128, 128), nn.LeakyReLU(), nn.Linear(128, 5)]


def fashion_mnist_of_the_paper():
    first = [cov(1, 32, 3, 1, 1), nn.LeakyReLU(), nn.MaxPool2d(2)]
    second = [cov(32, 64, 3, 1, 1), nn.LeakyReLU(), nn.MaxPool2d(2)]
    return [*first, *second, nn.Flatten(), nn.Linear(7 * 7 * 64, 1024), nn.LeakyReLU(), nn.Linear(1024, 10)]


def svhn_of_the_paper():
    layers = []
    for a, b, e, pooled in (
        (3, 32, 1, False),
        (32, 32, 1, True),
        (32, 64, 1, False),
        (64, 64, 1, True),
        (64, 128, 1, False),
        (128, 128, 1, True),
        (128, 256, 0, True),
    ):
        layers += [cov(a, b, 3, 1, e), nn.BatchNorm2d(b), nn.ReLU(), *([nn.MaxPool2d(2)] if pooled else [])]
    return [*layers, nn.Flatten(), nn.Linear(256, 10)]


class BasicBlock(nn.Module):
    """Of ResNet-18: He et al. 2016, figure 2 left and option B of section 3.3, normalised image by image."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.InstanceNorm2d(outputs, affine=True)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.InstanceNorm2d(outputs, affine=True)
        around = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.InstanceNorm2d(outputs, affine=True)]
        self.around = nn.Sequential(*(around if inputs != outputs else []))

    def forward(self, x):
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(inner)) + self.around(x))


def oct_of_the_paper():
    stem = [nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.InstanceNorm2d(64, affine=True), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [BasicBlock(64, 64, 1), BasicBlock(64, 64, 1)]
    for inputs, outputs in ((64, 128), (128, 256), (256, 512)):
        blocks += [BasicBlock(inputs, outputs, 2), BasicBlock(outputs, outputs, 1)]
    return [*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 4)]


PAPER = {
    ECGNet: ((1, 187), ecg_of_the_paper),
    FashionMNISTNet: ((1, 28, 28), fashion_mnist_of_the_paper),
    SVHNNet: ((3, 32, 32), svhn_of_the_paper),
    OCTNet: ((1, 70, 100), oct_of_the_paper),
}


def with_other_weights(network):
    """Weights, biases and statistics that no two layers share, so that a swapped or missing layer shows."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_((torch.rand(value.shape) + (0.5 if name.endswith("var") else -0.5)) * 0.6)
    return network


@pytest.mark.parametrize("kind", [ECGNet, FashionMNISTNet, SVHNNet])
def test_the_layers_are_those_that_the_paper_lists(kind):
    expected = PAPER[kind][1]()
    assert [repr(layer) for layer in kind().layers] == [repr(layer) for layer in expected]


@pytest.mark.parametrize("kind", PAPER)
@pytest.mark.parametrize("training", [False, True])
def test_the_network_computes_what_the_papers_layers_compute(kind, training):
    shape, layers = PAPER[kind]
    network, expected = with_other_weights(kind()).train(training), nn.Sequential(*layers()).train(training)
    states = network.state_dict()
    assert [value.shape for value in states.values()] == [value.shape for value in expected.state_dict().values()]
    expected.load_state_dict(dict(zip(expected.state_dict(), states.values(), strict=True)))
    image = torch.rand(3, *shape)
    torch.testing.assert_close(network(image), expected(image), rtol=1e-4, atol=1e-5)


def test_the_parameters_are_as_many_as_the_layers_of_the_paper_have():
    ecg = (5 + 1) * 32 + 3 * (32 * 5 + 1) * 32 + linear(384, 128) + 2 * linear(128, 128) + linear(128, 5)
    assert parameters(ECGNet()) == ecg == 98_597
    fashion_mnist = convolution(1, 32) + 32 + convolution(32, 64) + 64 + linear(7 * 7 * 64, 1024) + linear(1024, 10)
    assert parameters(FashionMNISTNet()) == fashion_mnist == 3_241_354
    pairs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256)]
    svhn = sum(convolution(a, b) + b + 2 * b for a, b in pairs) + linear(256, 10)
    assert parameters(SVHNNet()) == svhn == 586_154
    first_stage = 4 * (convolution(64, 64) + 2 * 64)
    later_stages = sum(
        convolution(n // 2, n) + 3 * convolution(n, n) + convolution(n // 2, n, size=1) + 5 * 2 * n
        for n in (128, 256, 512)
    )
    oct_net = convolution(1, 64, size=7) + 2 * 64 + first_stage + later_stages + linear(512, 4)
    assert parameters(OCTNet()) == oct_net == 11_172_292


@pytest.mark.parametrize("kind", PAPER)
def test_the_docstring_states_the_number_of_parameters(kind):
    assert f"{parameters(kind()):,} parameters".replace(",", " ") in kind.__doc__


def test_every_normalisation_of_the_oct_network_is_affine_instance_normalisation():
    norms = [layer for layer in OCTNet().modules() if isinstance(layer, (nn.modules.batchnorm._NormBase, nn.GroupNorm))]
    assert [type(layer) for layer in norms] == [nn.InstanceNorm2d] * 20
    assert all(layer.affine and not layer.track_running_stats for layer in norms)


@pytest.mark.parametrize(
    ("channels", "blocks", "norms"), [((4, 8, 8, 8), (1, 1, 1, 1), 1 + 8 + 3), ((4, 4, 4, 4), (1, 2, 1, 1), 1 + 10 + 3)]
)
def test_a_smaller_oct_network_has_the_stages_that_were_given(channels, blocks, norms):
    network = OCTNet(in_channels=2, num_classes=3, channels=channels, blocks=blocks)
    assert sum(isinstance(layer, nn.InstanceNorm2d) for layer in network.modules()) == norms
    assert network(torch.rand(2, 2, 48, 64)).shape == (2, 3)
    assert network.state_dict()["resnet.fc.weight"].shape == (3, channels[-1])


def test_the_oct_network_takes_every_image_of_which_more_than_one_pixel_is_left():
    network = OCTNet(**SMALL_OCT)
    for shape in ((33, 1), (1, 33), (33, 33), (224, 31)):
        assert network(torch.rand(1, 1, *shape)).isfinite().all()
    for shape in ((32, 32), (32, 1), (20, 20)):
        with pytest.raises(ValueError, match=rf"Got images of {shape[0]} x {shape[1]} pixels, expected a side longer"):
            network(torch.rand(2, 1, *shape))


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


@pytest.mark.parametrize("kind", [ECGNet, FashionMNISTNet, OCTNet])
def test_a_network_without_batch_norm_does_not_look_at_the_other_samples_of_a_batch(kind):
    shape, network = PAPER[kind][0], kind()
    image = torch.rand(5, *shape, requires_grad=True)
    logits = network.train()(image)
    assert torch.allclose(logits[:1], network(image[:1]), atol=1e-5)
    assert torch.allclose(logits, network.eval()(image), atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[2].sum(), image)
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3, 4]].abs().sum() == 0


def test_the_number_of_classes_and_leads_can_be_chosen():
    for kind, (shape, _) in PAPER.items():
        assert kind(num_classes=3)(torch.rand(2, *shape)).shape == (2, 3)
    assert ECGNet(in_channels=2)(torch.rand(4, 2, 187)).shape == (4, 5)


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (ECGNet(), (2, 1, 186), r"Got beats of shape \[2, 1, 186\], expected \[B, 1, 187\]"),
        (ECGNet(), (2, 187), r"expected \[B, 1, 187\]"),
        (ECGNet(2), (2, 1, 187), r"expected \[B, 2, 187\]"),
        (FashionMNISTNet(), (2, 3, 28, 28), r"Got images of shape \[2, 3, 28, 28\], expected \[B, 1, 28, 28\]"),
        (FashionMNISTNet(), (1, 28, 28), r"expected \[B, 1, 28, 28\]"),
        (SVHNNet(), (2, 3, 28, 28), r"expected \[B, 3, 32, 32\]"),
        (OCTNet(**SMALL_OCT), (2, 3, 48, 48), r"shape \[2, 3, 48, 48\], expected \[B, 1, height, width\]"),
        (OCTNet(**SMALL_OCT), (1, 48, 48), r"expected \[B, 1, height, width\]"),
        (WideResNet(10, 1), (2, 1, 32, 32), r"Got images of shape \[2, 1, 32, 32\], expected \[B, 3, height, width\]"),
        (WideResNet(10, 1), (3, 32, 32), r"expected \[B, 3, height, width\]"),
    ],
)
def test_images_of_another_shape_are_refused_by_the_exported_network_too(network, shape, words):
    with pytest.raises(ValueError, match=words):
        network(torch.rand(shape))
    with pytest.raises(torch.jit.Error, match=words):
        torch.jit.script(network)(torch.rand(shape))


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (WideResNet, {"depth": 27}, "depth 27, expected 10, 16"),
        (WideResNet, {"depth": 4}, "depth 4"),
        (WideResNet, {"widen_factor": 0}, "widen_factor 0"),
        (WideResNet, {"num_classes": 2.5}, "num_classes 2.5"),
        (WideResNet, {"in_channels": 0}, "in_channels 0"),
        (WideResNet, {"dropout": 1.0}, "dropout 1.0"),
        (ECGNet, {"in_channels": 0}, "in_channels 0, expected an integer >= 1"),
        *((kind, {"num_classes": 0}, "num_classes 0, expected an integer >= 1") for kind in PAPER),
        *((kind, {"num_classes": "ten"}, "num_classes 'ten'") for kind in PAPER),
        (OCTNet, {"in_channels": 1.5}, "in_channels 1.5"),
        (OCTNet, {"channels": (64, 128)}, r"channels \(64, 128\), expected 4 integers, one for each stage"),
        (OCTNet, {"channels": (64, 128, 0, 8)}, "channels 0, expected an integer >= 1"),
        (OCTNet, {"blocks": 2}, "blocks 2, expected 4 integers"),
        (OCTNet, {"blocks": (1, 1, 1, 0)}, "blocks 0"),
    ],
)
def test_bad_settings_are_refused(kind, settings, words):
    with pytest.raises(ValueError, match=words):
        kind(**settings)


@pytest.mark.parametrize("kind", [*PAPER, WideResNet])
def test_a_scripted_network_gives_the_same(kind):
    network = (WideResNet(10, 1) if kind is WideResNet else kind()).eval()
    image = torch.rand(2, *(PAPER[kind][0] if kind in PAPER else (3, 32, 32)))
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_the_synthetic_shapes_can_be_learned():
    label = np.tile(np.arange(10), 120)
    image = torch.from_numpy(shapes_phantom(label, np.random.default_rng(0), 28)) / 255
    target = torch.from_numpy(label)
    network = FashionMNISTNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):
        for rows in torch.randperm(1000).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(image[rows]), target[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        right = (network(image[1000:]).argmax(1) == target[1000:]).float().mean()
    assert right > 0.5
