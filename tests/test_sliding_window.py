"""Gradients through sliding windows: bit for bit those of the plain graph, without its activations."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer, SlidingWindowInfererAdapt
from monai.networks.nets import UNet
from torch import nn

from monai_ima.attacks import PGD, attack_mode
from monai_ima.criteria import DiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.inferers import GradientSlidingWindowInferer, gradient_inferer
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.predictor import Predictor

WINDOW = (12, 12, 12)


def unet(spatial_dims: int = 3, dropout: float = 0.0) -> nn.Module:
    return UNet(spatial_dims, 1, 2, (4, 8), (2,), num_res_units=1, norm="instance", dropout=dropout).eval()


@pytest.fixture
def volume():
    """Two volumes of 3 x 3 x 3 half-overlapping windows."""
    return torch.randn(2, 1, 24, 20, 22)


class Outputs(nn.Module):
    """A network that returns two maps, the second at half resolution, in a container of the caller's choice."""

    def __init__(self, pack) -> None:
        super().__init__()
        self.inner, self.pool, self.pack = unet(), nn.AvgPool3d(2), pack

    def forward(self, x):
        out = self.inner(x)
        return self.pack(out, self.pool(2 * out))


def tensors(output) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return list(output.values() if isinstance(output, dict) else output)


def gradients(inferer, network, image, *args, seed=3, **kwargs):
    """Predictions, then the gradients with respect to the image and every parameter."""
    torch.manual_seed(seed)
    image = image.clone().requires_grad_()
    outputs = tensors(inferer(image, network, *args, **kwargs))
    loss = sum((o.float() * torch.linspace(-1, 1, o.numel()).view_as(o)).square().sum() for o in outputs)
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else []
    found = torch.autograd.grad(loss, [image, *parameters])
    assert found[0].abs().sum() > 0
    return [o.detach() for o in outputs] + list(found)


def assert_same(ours, plain) -> None:
    assert len(ours) == len(plain)
    for k, (a, b) in enumerate(zip(ours, plain, strict=True)):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), k


def saved_bytes(inferer, network, image) -> int:
    """Bytes kept for the backward pass, each storage counted once."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = inferer(image.clone().requires_grad_(), network)
    assert output.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("sw_batch_size", [1, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_predictions_and_gradients_are_those_of_the_plain_graph(volume, mode, sw_batch_size, dropout):
    settings = (WINDOW, sw_batch_size, 0.5, mode)
    network = unet(dropout=dropout)
    plain = gradients(SlidingWindowInferer(*settings), network, volume)
    assert_same(gradients(GradientSlidingWindowInferer(*settings), network, volume), plain)
    with torch.no_grad():
        assert torch.equal(GradientSlidingWindowInferer(*settings)(volume, network), plain[0])


@pytest.mark.parametrize("inferer", [GradientSlidingWindowInferer, SlidingWindowInfererAdapt])
@pytest.mark.parametrize("traced", [False, True])
def test_the_gradient_through_torchscript_is_that_of_its_network_at_every_call(volume, traced, inferer):
    network, settings = unet(), (WINDOW, 1, 0.5)
    script = torch.jit.trace(network, volume[:, :, :12, :12, :12]) if traced else torch.jit.script(network)
    ours = gradient_inferer(inferer(*settings))
    plain = gradients(SlidingWindowInferer(*settings), network, volume)
    for _ in range(3):
        assert_same(gradients(ours, script, volume), plain)


@pytest.mark.parametrize("sw_batch_size", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"buffer_steps": 1},
        {"buffer_steps": 2, "buffer_dim": 0},
        {"device": "cpu", "sw_device": "cpu"},
        {"cpu_thresh": 10},
        {"cache_roi_weight_map": True, "mode": "gaussian"},
        {"roi_size": (12, -1, 12)},
    ],
    ids=str,
)
def test_every_option_of_monai_keeps_the_gradients_exact(volume, sw_batch_size, settings):
    settings = {"roi_size": WINDOW, "sw_batch_size": sw_batch_size, "overlap": 0.5, **settings}
    network = unet()
    plain = gradients(SlidingWindowInferer(**settings), network, volume)
    assert_same(gradients(GradientSlidingWindowInferer(**settings), network, volume), plain)


@pytest.mark.parametrize("pack", [lambda *o: o, lambda *o: list(o), lambda *o: dict(zip("ab", o, strict=True))])
def test_networks_with_several_outputs(volume, pack):
    network = Outputs(pack)
    plain, ours = (kind(WINDOW, 2, 0.5) for kind in (SlidingWindowInferer, GradientSlidingWindowInferer))
    assert type(ours(volume, network)) is type(plain(volume, network))
    assert_same(gradients(ours, network, volume), gradients(plain, network, volume))


@pytest.mark.parametrize("buffer_steps", [None, 1])
def test_window_coordinates_and_further_inputs_reach_the_network_in_the_backward_pass_too(volume, buffer_steps):
    inner = unet()

    def network(window, coords, scale, *, debug):
        starts = torch.tensor([[place[0].start, *(s.start for s in place[2:])] for place in coords])
        return inner(window) * (1 + starts.sum(1).view(-1, 1, 1, 1, 1)) * scale + debug * window.square()

    settings = {"overlap": 0.5, "with_coord": True, "buffer_steps": buffer_steps}
    plain = gradients(SlidingWindowInferer(WINDOW, 2, **settings), network, volume, 0.5, debug=0.1)
    assert_same(gradients(GradientSlidingWindowInferer(WINDOW, 2, **settings), network, volume, 0.5, debug=0.1), plain)


def test_dropout_in_training_mode_draws_the_same_numbers_in_the_backward_pass(volume):
    network = unet(dropout=0.5).train()
    plain, ours = (kind(WINDOW, 2, 0.5) for kind in (SlidingWindowInferer, GradientSlidingWindowInferer))
    expected = gradients(plain, network, volume)
    assert_same(gradients(ours, network, volume), expected)
    assert not torch.equal(gradients(ours, network, volume, seed=4)[1], expected[1])


def test_autocast_holds_in_the_backward_pass(volume):
    network = unet()
    plain, ours = (kind(WINDOW, 2, 0.5) for kind in (SlidingWindowInferer, GradientSlidingWindowInferer))

    def low(inferer):
        image = volume.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = inferer(image, network)
        return [output.detach(), *torch.autograd.grad(output.square().sum(), [image, *network.parameters()])]

    assert_same(low(ours), low(plain))
    assert not torch.equal(low(ours)[0], plain(volume, network))


def test_a_network_that_ends_in_softmax_has_gradients(volume):
    """MONAI weights a window's prediction in place, which breaks the plain graph of such a network."""
    inner = unet()
    plain, ours = (kind(WINDOW, 2, 0.5) for kind in (SlidingWindowInferer, GradientSlidingWindowInferer))
    found = gradients(ours, nn.Sequential(inner, nn.Softmax(1)), volume)
    expected = gradients(plain, lambda x: inner(x).softmax(1).clone(), volume)
    assert_same(found[:2], expected)


def test_metadata_stays(volume):
    image = MetaTensor(volume, meta={"filename_or_obj": "scan"})
    output = GradientSlidingWindowInferer(WINDOW, 2)(image.clone().requires_grad_(), unet())
    assert output.meta["filename_or_obj"] == "scan"
    assert output.requires_grad


@pytest.mark.parametrize("sw_batch_size", [1, 3])
def test_the_backward_pass_keeps_volumes_and_no_windows(sw_batch_size):
    network = unet()
    settings = (WINDOW, sw_batch_size, 0.5, "gaussian")
    for size in (24, 36, 48):
        image = torch.randn(1, 1, size, size, size)
        kept = saved_bytes(GradientSlidingWindowInferer(*settings), network, image)
        weights = 4 * 12**3
        assert kept == 2 * image.nbytes + weights  # the image and the count map
        assert saved_bytes(SlidingWindowInferer(*settings), network, image) > 10 * kept


@pytest.mark.parametrize("size", [(8, 9, 7), (24, 11, 24), (12, 12, 11), (20, 5, 12)])
@pytest.mark.parametrize("padding", [{}, {"cval": -1.5}, {"padding_mode": "replicate"}, {"buffer_steps": 1}])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_volume_smaller_than_the_window_is_padded_and_cut_as_monai_does(size, padding, batch):
    image, network = torch.randn(2, 1, *size), unet()
    settings = {"roi_size": WINDOW, "sw_batch_size": batch, "overlap": 0.5, "mode": "gaussian", **padding}
    expected = gradients(SlidingWindowInferer(**settings), network, image)
    found = gradients(GradientSlidingWindowInferer(**settings), network, image)
    assert found[0].shape == (2, 2, *size)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("inferer", [GradientSlidingWindowInferer(WINDOW), gradient_inferer(SliceInferer(0, (8, 8)))])
def test_running_statistics_in_training_mode_are_refused(volume, inferer):
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if not hasattr(inferer, "roi_size") else (nn.Conv3d, nn.BatchNorm3d)
    network = nn.Sequential(conv(1, 2, 1), norm(2))
    image = volume.clone().requires_grad_()
    with pytest.raises(ValueError, match=r"Layer '1' \(BatchNorm.d\) of the network is in training mode"):
        inferer(image, network)
    with torch.no_grad():
        inferer(image, network)
    count = int(network[1].num_batches_tracked)
    torch.autograd.grad(inferer(image, network.eval()).sum(), image)
    assert int(network[1].num_batches_tracked) == count > 0


def test_a_plain_sliding_window_is_converted_with_all_its_settings():
    settings = {
        "roi_size": (12, 8),
        "sw_batch_size": 5,
        "overlap": (0.5, 0.3),
        "mode": "gaussian",
        "sigma_scale": 0.2,
        "padding_mode": "reflect",
        "cval": 2.0,
        "sw_device": "cpu",
        "device": "cpu",
        "progress": True,
        "cache_roi_weight_map": True,
        "cpu_thresh": 7,
        "buffer_steps": 3,
        "buffer_dim": 0,
        "with_coord": True,
    }
    plain = SlidingWindowInferer(**settings)
    ours = gradient_inferer(plain)
    assert type(ours) is GradientSlidingWindowInferer
    assert vars(ours) == vars(plain)
    assert vars(GradientSlidingWindowInferer(**settings)).keys() == vars(plain).keys()
    assert type(plain) is SlidingWindowInferer


def test_other_inferers_are_returned_as_they_are():
    for inferer in (SimpleInferer(), GradientSlidingWindowInferer(8), lambda x, network: network(x)):
        assert gradient_inferer(inferer) is inferer
    wrapped = gradient_inferer(SliceInferer(0, (8, 8)))
    assert gradient_inferer(wrapped) is wrapped


class Twice(SlidingWindowInferer):
    """A user's inferer: asks for a module, reads an attribute of it and changes the prediction."""

    def __call__(self, inputs, network, *args, **kwargs):
        assert isinstance(network, nn.Module)
        assert not network.training
        return network.dimensions * super().__call__(inputs, lambda x: 2 * network(x), *args, **kwargs)


@pytest.mark.parametrize(
    ("inferer", "network"),
    [
        (SliceInferer(1, roi_size=(12, 12), sw_batch_size=3, overlap=0.5), unet(2)),
        (SlidingWindowInfererAdapt(WINDOW, 3, 0.5, "gaussian"), unet()),
        (Twice(WINDOW, 3, 0.5), unet()),
    ],
    ids=["slices", "adapt", "user"],
)
def test_subclasses_behave_as_themselves_and_keep_no_activations(volume, inferer, network):
    ours = gradient_inferer(inferer)
    assert_same(gradients(ours, network, volume), gradients(inferer, network, volume))
    assert saved_bytes(ours, network, volume) < saved_bytes(inferer, network, volume) / 3
    with torch.no_grad():
        assert torch.equal(ours(volume, network), inferer(volume, network))


def test_an_evaluators_batches_are_attacked_through_the_windows_as_through_the_plain_graph(volume):
    network = unet(dropout=0.5).train()
    plain = SlidingWindowInferer(WINDOW, 2, 0.5)
    attack = PGD("l2", 3, criterion=DiceCriterion(0.1))
    with attack_mode(network), torch.no_grad():
        label = plain(volume, network).argmax(dim=1, keepdim=True)
    prepare = AdversarialPrepareBatch(network, attack, 2.0, inferer=plain)
    assert isinstance(prepare.inferer, GradientSlidingWindowInferer)
    noisy, _ = prepare({"image": volume, "label": label})
    with attack_mode(network):
        again = PGD("l2", 3, criterion=DiceCriterion(0.1))
        streams = per_sample_generators("validation", [str(k) for k in range(len(volume))])
        expected = again(Predictor(plain, network, len(volume)), volume, label, 2.0, streams).image
    assert torch.equal(noisy, expected)
    assert (noisy - volume).flatten(1).norm(dim=1) == pytest.approx(torch.tensor([2.0, 2.0]), rel=1e-4)
    smaller = {"image": volume[..., :9], "label": label[..., :9]}
    assert (prepare(smaller)[0] - smaller["image"]).flatten(1).norm(dim=1) == pytest.approx(
        torch.tensor([2.0, 2.0]), rel=1e-4
    )
