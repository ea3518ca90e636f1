"""Each forward model against closed forms, SciPy, scikit-image and MONAI."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from attack_problems import streams
from monai.transforms import GibbsNoise, KSpaceSpikeNoise
from scipy import ndimage
from scipy.interpolate import BSpline, NdBSpline
from scipy.spatial.transform import Rotation as Turn
from test_perturbations import images, largest_level, random_theta, spacing_of, tiny_classifier
from torch import nn

from monai_ima.attacks import PGD, BoundaryPGD, MinimumNorm
from monai_ima.criteria import DiceCriterion
from monai_ima.perturbations import (
    Additive,
    BaselineWander,
    BiasField,
    Blur,
    Compose,
    CTDose,
    Elastic,
    Frequency,
    Gain,
    GammaContrast,
    Ghosting,
    Gibbs,
    IntensityShift,
    Motion,
    MotionRotation,
    NoiseLevel,
    Powerline,
    RicianNoise,
    Rotation,
    Speckle,
    Spike,
    Translation,
)
from monai_ima.perturbations.fields import noise_deviation, smooth_field

DOUBLE = torch.float64


def extent(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).amax(1) - x.flatten(1).amin(1)


def slopes(name: str, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """How fast ``w x`` rises with each of θ, by hand: ``[B, n]``."""
    flat, lowest = x.flatten(1), x.flatten(1).amin(1, keepdim=True)
    waves = 2 * math.pi * 0.1 * torch.arange(flat.shape[1], dtype=DOUBLE)
    columns = {
        "intensity_shift": [extent(x) * w.sum(), (flat - flat.mean(1, keepdim=True)) @ w],
        "bias_field": [(flat - lowest) @ w],
        "gain": [(flat - lowest) @ w],
        "baseline_wander": [extent(x) * w.sum()],
        "powerline": [extent(x) * (w @ waves.sin()), extent(x) * (w @ waves.cos())],
    }[name]
    return torch.stack(columns, dim=1) / 100


@pytest.mark.parametrize(
    "perturbation",
    [
        IntensityShift(),
        IntensityShift(norm="l2"),
        BiasField(points=1),
        Gain(norm="l2"),
        BaselineWander(points=1),
        Powerline(),
        Powerline(norm="linf"),
    ],
    ids=lambda p: f"{p.name}-{p.norm.name}",
)
@pytest.mark.parametrize("search", ["boundary", "minimum"])
def test_the_boundary_of_a_linear_network_is_found_at_its_analytic_size(perturbation, search):
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 2)).double()
    image = torch.randn(16, 1, 24, dtype=DOUBLE)
    image = image if perturbation.name == "powerline" else image.view(16, 1, 4, 6)
    with torch.no_grad():
        difference = network(image).diff(dim=1).squeeze(1)
        rise = slopes(perturbation.name, image, network[1].weight.diff(dim=0)[0])
    dual = {"linf": rise.abs().sum(1), "l2": rise.norm(dim=1)}[perturbation.norm.name]
    expected = difference.abs() / dual
    attack = {
        "boundary": BoundaryPGD(binary_steps=20, perturbation=perturbation),
        "minimum": MinimumNorm(steps=40, perturbation=perturbation),
    }[search]
    result = attack(network, image, (difference > 0).long(), 2 * expected, streams(range(16)))
    assert result.success.all()
    torch.testing.assert_close(result.distance, expected, rtol=0.01, atol=0)


def test_gamma_is_scikit_images():
    exposure = pytest.importorskip("skimage.exposure")
    image = torch.rand(2, 1, 8, 9, dtype=DOUBLE)
    image[..., 0, 0], image[..., 0, 1] = 0, 1
    for theta in (-40.0, 10.0, 60.0):
        changed = GammaContrast().apply(image, torch.full((2, 1), theta, dtype=DOUBLE))
        expected = exposure.adjust_gamma(image.numpy(), gamma=math.exp(theta / 100))
        np.testing.assert_allclose(changed.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("theta", [2.0, 5.0, -10.0])
def test_noise_has_the_standard_deviation_that_theta_says(theta):
    image = torch.zeros(1, 1, 200, 200)
    image[..., 100:] = 40.0  # the range
    full = torch.full((1, 4, 4), theta)
    gaussian = NoiseLevel().apply(image, full) - image
    assert float(gaussian.std()) == pytest.approx(0.4 * abs(theta), rel=0.02)
    assert float(gaussian.mean()) == pytest.approx(0, abs=0.01 * abs(theta))
    rician = RicianNoise().apply(image, full)
    assert float(rician[..., :100].mean()) == pytest.approx(0.4 * abs(theta) * math.sqrt(math.pi / 2), rel=0.02)
    assert (rician >= 0).all()
    speckle = Speckle().apply(image, full)
    assert float(speckle[..., 100:].std()) == pytest.approx(0.4 * abs(theta), rel=0.02)
    assert (speckle[..., :100] == 0).all()


@pytest.mark.parametrize("reduction", [10.0, 50.0, 75.0, 90.0])
def test_the_variance_of_ct_noise_rises_as_one_over_the_dose(reduction):
    clean = 10 * torch.randn(1, 1, 256, 256)
    for perturbation in (CTDose(noise=10), CTDose()):
        lower = perturbation.apply(clean, torch.full((1, 4, 4), reduction))
        assert float(lower.var()) == pytest.approx(100 / (1 - reduction / 100), rel=0.06)


@pytest.mark.parametrize("points", [1, 2, 3, 4, 7])
def test_a_smooth_field_is_scipys_spline(points):
    degree = min(3, points - 1)
    knots = np.concatenate([np.zeros(degree), np.linspace(0, 1, points - degree + 1), np.ones(degree)])
    control = torch.randn(2, points, points, dtype=DOUBLE)
    at = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 12), indexing="ij"), axis=-1)
    at = np.minimum(at, 1 - 1e-12) if degree == 0 else at
    found = smooth_field(control, (9, 12)).numpy()
    for one, row in zip(control.numpy(), found, strict=True):
        np.testing.assert_allclose(row, NdBSpline((knots, knots), one, degree)(at), atol=1e-9)
    line = smooth_field(control[:, 0], (9,)).numpy()
    np.testing.assert_allclose(line[0], BSpline(knots, control[0, 0].numpy(), degree)(at[:, 0, 0]), atol=1e-9)
    assert found.max() <= float(control.max()) + 1e-12
    assert found.min() >= float(control.min()) - 1e-12


def test_the_noise_of_an_image_is_found():
    position = torch.linspace(0, 6, 96, dtype=DOUBLE)
    smooth = 20 * torch.sin(position)[:, None] * torch.cos(position)[None]
    line = 20 * torch.sin(torch.linspace(0, 6, 8192, dtype=DOUBLE))
    for axes, scene in ((1, line), (2, smooth), (3, smooth[:, :, None].expand(-1, -1, 8))):
        noise = torch.randn(1, 2, *scene.shape, dtype=DOUBLE)
        scale = torch.tensor([0.5, 3.0], dtype=DOUBLE)
        found = noise_deviation(scene + noise * scale.view(1, 2, *[1] * axes))
        torch.testing.assert_close(found.flatten(), scale, rtol=0.08, atol=0)


def test_the_noise_found_is_scikit_images():
    pytest.importorskip("pywt")
    restoration = pytest.importorskip("skimage.restoration")
    noise = 3 * torch.randn(1, 1, 128, 128)
    assert float(noise_deviation(noise)) == pytest.approx(restoration.estimate_sigma(noise[0, 0].numpy()), rel=0.05)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_blur_is_scipys_gaussian_filter(axes):
    image, spacing = images(axes), spacing_of(images(axes))
    theta = torch.tensor([[0.8, -3.0, 1.2], [2.0, 0.09, 0.01]], dtype=DOUBLE)[:, :axes]
    changed = Blur().apply(image, theta, spacing)
    for one, found, deviation in zip(image.numpy(), changed.numpy(), (theta / spacing).abs().numpy(), strict=True):
        deviation = np.where(deviation > 0.05, deviation, 0)
        expected = ndimage.gaussian_filter(one, (0, *deviation), mode="nearest")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_blur_below_a_twentieth_of_a_voxel_changes_nothing():
    image = images(2, dtype=torch.float32)
    theta = torch.tensor([[0.049, 0.099], [-0.03, 0.0]], requires_grad=True)
    changed = Blur().apply(image, theta, torch.tensor([[1.0, 2.0]] * 2))
    assert torch.equal(changed, image)
    (slope,) = torch.autograd.grad(changed.sum(), theta)
    assert slope.isfinite().all()


def pull_matrix(theta: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """From places in the turned image to places in the clean one, in voxels."""
    axes = len(spacing)
    vector = np.radians([0, 0, theta[0]] if axes == 2 else theta)
    turn = Turn.from_rotvec(vector).as_matrix()[:axes, :axes]
    return turn.T * spacing / spacing[:, None]


def sampled(grid: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    centre = (np.array(grid) - 1) / 2
    position = np.indices(grid).reshape(len(grid), -1)
    return (matrix @ (position - centre[:, None]) + centre[:, None]).reshape(len(grid), *grid)


def clear(position: np.ndarray) -> np.ndarray:
    """Where the nearest voxel does not depend on rounding."""
    return (np.abs(position - np.floor(position) - 0.5) > 1e-6).all(axis=0)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float32])
def test_labels_turn_as_scipys(axes, dtype):
    """Index maps, one-hot maps and maps of several channels."""
    image, spacing = images(axes), spacing_of(images(axes))
    grid = tuple(image.shape[2:])
    index = torch.randint(1, 5, (2, 1, *grid), generator=torch.Generator().manual_seed(0))
    label = index if dtype == torch.int64 else torch.cat([index > 2, index == 1, index > 3], dim=1)
    label = label.to(dtype)
    theta = random_theta(Rotation(), image, 40.0)
    moved = Rotation().apply_label(label, theta, image, spacing)
    assert moved.dtype == dtype
    assert moved.shape == label.shape
    assert not torch.equal(moved, label)
    for b in range(2):
        matrix = pull_matrix(theta[b].numpy(), spacing[b].numpy())
        centre = (np.array(grid) - 1) / 2
        sure = clear(sampled(grid, matrix))
        assert sure.mean() > 0.9
        for one, found in zip(label[b].numpy(), moved[b].numpy(), strict=True):
            expected = ndimage.affine_transform(
                one.astype(float), matrix, centre - matrix @ centre, order=0, mode="grid-constant", cval=0
            )
            np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("axes", [2, 3])
def test_images_turn_as_scipys(axes):
    image, spacing = images(axes), spacing_of(images(axes))
    grid = tuple(image.shape[2:])
    theta = random_theta(Rotation(), image, 25.0)
    turned = Rotation().apply(image, theta, spacing)
    for b in range(2):
        position = sampled(grid, pull_matrix(theta[b].numpy(), spacing[b].numpy()))
        for one, found in zip(image[b].numpy(), turned[b].numpy(), strict=True):
            np.testing.assert_allclose(
                found, ndimage.map_coordinates(one, position, order=1, mode="nearest"), atol=1e-9
            )


@pytest.mark.parametrize("axes", [2, 3])
def test_labels_follow_an_elastic_deformation_as_scipys(axes):
    image, spacing = images(axes), spacing_of(images(axes))
    grid = tuple(image.shape[2:])
    label = torch.randint(0, 5, (2, 1, *grid), generator=torch.Generator().manual_seed(0))
    theta = random_theta(Elastic(), image, 2.0)
    moved = Elastic().apply_label(label, theta, image, spacing)
    for b in range(2):
        field = torch.stack([smooth_field(one[None], grid)[0] for one in theta[b]]).numpy()
        position = np.indices(grid) - field / spacing[b].numpy().reshape(-1, *[1] * axes)
        sure = clear(position)
        expected = ndimage.map_coordinates(label[b, 0].numpy(), position, order=0, mode="grid-constant", cval=0)
        np.testing.assert_array_equal(moved[b, 0].numpy()[sure], expected[sure])


def test_labels_that_are_no_maps_stay():
    image = images(2)
    theta = random_theta(Rotation(), image, 20.0)
    for label in (torch.tensor([1, 0]), torch.rand(2, 3)):
        assert torch.equal(Rotation().apply_label(label, theta, image, spacing_of(image)), label)
    maps = torch.rand(2, 1, 9, 12)
    assert torch.equal(Gain().apply_label(maps, torch.ones(2, 1, 1), image), maps)


def ball(grid: tuple[int, ...], spacing: tuple[float, ...], radius: float, edge: float) -> torch.Tensor:
    """A ball in mm at the centre, with a soft edge."""
    steps = [s * (torch.arange(n, dtype=DOUBLE) - (n - 1) / 2) for n, s in zip(grid, spacing, strict=True)]
    squares = sum(axis.square() for axis in torch.meshgrid(*steps, indexing="ij"))
    return ((radius - squares.sqrt()) / edge).sigmoid()[None, None]


@pytest.mark.parametrize(
    ("grid", "spacing"),
    [((64, 64), (1.0, 1.0)), ((65, 32), (1.0, 2.0)), ((40, 40, 40), (1.0, 1.0, 1.0)), ((40, 21, 80), (1.0, 2.0, 0.5))],
)
def test_a_centred_disc_stays_when_it_turns(grid, spacing):
    image = ball(grid, spacing, 10.0, 2.0)
    label = (image > 0.5).long()
    for seed, angle in enumerate((10.0, 45.0, 120.0)):
        theta = random_theta(Rotation(), image, angle, seed)
        turned = Rotation(spacing=spacing).apply(image, theta)
        assert float((turned - image).abs().max()) < 0.04
        moved = Rotation(spacing=spacing).apply_label(label, theta, image)
        assert 2 * float((moved * label).sum() / (moved + label).sum()) > 0.94
        if len(set(spacing)) > 1 and angle == 45:
            assert float((Rotation(spacing=1.0).apply(image, theta) - image).abs().max()) > 0.2


@pytest.mark.parametrize("axes", [2, 3])
def test_a_translation_by_whole_voxels_is_a_roll(axes):
    image = torch.zeros(1, 1, *(11, 12, 13)[:axes], dtype=DOUBLE)
    image[(..., *[slice(4, 8)] * axes)] = torch.rand(*[4] * axes, dtype=DOUBLE)
    label = (image > 0.5).to(torch.int16)
    spacing = (1.0, 2.0, 0.5)[:axes]
    shift = (2, -3, 1)[:axes]
    theta = torch.tensor([shift], dtype=DOUBLE) * torch.tensor(spacing, dtype=DOUBLE)
    dims = tuple(range(2, 2 + axes))
    torch.testing.assert_close(Translation(spacing=spacing).apply(image, theta), image.roll(shift, dims))
    assert torch.equal(Translation(spacing=spacing).apply_label(label, theta, image), label.roll(shift, dims))
    one_point = Elastic(points=1, spacing=spacing).apply(image, theta.view(1, axes, *[1] * axes))
    torch.testing.assert_close(one_point, image.roll(shift, dims))


def blocks_of_lines(size: int, segments: int) -> np.ndarray:
    """The block of each line in the FFT's order, counted from the lowest frequency."""
    order = np.argsort(np.fft.fftfreq(size))
    block = np.empty(size, dtype=int)
    block[order] = np.arange(size) * segments // size
    return block


@pytest.mark.parametrize("axis", [0, 1])
def test_each_block_of_lines_is_one_of_the_object_where_it_then_lay(axis):
    image = images(2)[:1]
    theta = torch.tensor([[[0.5, 1.0], [-2.0, 0.3], [0.0, 4.0]]], dtype=DOUBLE)
    spectrum = np.fft.fftn(image[0].numpy(), axes=(1, 2))
    block = blocks_of_lines(image.shape[2 + axis], 4)
    shifts = np.insert((theta[0] / spacing_of(image)[0]).numpy(), block[0], 0, axis=0)
    lines = np.zeros_like(spectrum)
    for k, shift in enumerate(shifts):
        shifted = np.stack([ndimage.fourier_shift(channel, shift) for channel in spectrum])
        lines += shifted * (block == k).reshape((1, -1, 1) if axis == 0 else (1, 1, -1))
    moved = Motion(segments=4, axis=axis).apply(image, theta, spacing_of(image))
    np.testing.assert_allclose(moved[0].numpy(), np.fft.ifftn(lines, axes=(1, 2)).real, atol=1e-10)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_object_lies_still_while_the_centre_of_k_space_is_measured(axes):
    image = images(axes)
    motion = Motion()
    theta = random_theta(motion, image, 5.0)
    change = motion.apply(image, theta, spacing_of(image)) - image
    lines = np.fft.fft(change.numpy(), axis=-1)
    block = blocks_of_lines(image.shape[-1], 5)
    still = (block == block[0]) & (block[-np.arange(len(block))] == block[0])
    assert still.sum() >= 1
    assert np.abs(lines[..., still]).max() < 1e-10
    assert np.abs(lines).max() > 0.01


@pytest.mark.parametrize("axes", [2, 3])
def test_the_other_blocks_are_those_of_the_turned_object(axes):
    image, spacing = images(axes), spacing_of(images(axes))
    theta = random_theta(Rotation(), image, 7.0)
    block = torch.from_numpy(blocks_of_lines(image.shape[-1], 2))
    dims = tuple(range(2, 2 + axes))
    turned = torch.fft.fftn(Rotation().apply(image, theta, spacing), dim=dims)
    spectrum = torch.where(block == block[0], torch.fft.fftn(image, dim=dims), turned)
    expected = torch.fft.ifftn(spectrum, dim=dims).real
    torch.testing.assert_close(MotionRotation(segments=2).apply(image, theta[:, None], spacing), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_are_shifted_replicas_and_a_periodic_modulation_of_lines(axis):
    image = torch.rand(2, 1, 12, 16, dtype=DOUBLE)
    image[..., 0, 0] = 0
    theta = torch.tensor([[10.0, -5.0, 3.0], [1.0, 20.0, 0.0]], dtype=DOUBLE)
    ghosts = Ghosting(ghosts=3, axis=axis).apply(image, theta)
    size = image.shape[2 + axis]
    expected = image.clone()
    for k in range(3):
        expected = expected + theta[:, k].view(2, 1, 1, 1) / 100 * image.roll(size * (k + 1) // 4, 2 + axis)
    floor = image.amin(dim=(2, 3), keepdim=True)
    assert float(floor.abs().max()) == 0
    torch.testing.assert_close(ghosts, expected)
    ratio = torch.fft.fft(ghosts, dim=2 + axis) / torch.fft.fft(image, dim=2 + axis)
    torch.testing.assert_close(ratio.roll(4, 2 + axis), ratio)
    assert float((ratio.roll(1, 2 + axis) - ratio).abs().max()) > 0.01


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_spike_is_one_wave(axes):
    image, perturbation = images(axes), Spike(spikes=1, seed=3)
    theta = torch.tensor([[[3.0, 4.0]], [[0.0, -2.0]]], dtype=DOUBLE)
    change = perturbation.apply(image, theta) - image
    spectrum = torch.fft.fftn(change, dim=tuple(range(2, 2 + axes))).abs()
    place = tuple(perturbation.places(image)[0].tolist())
    extents = image.flatten(2).amax(2) - image.flatten(2).amin(2)
    amplitude = torch.tensor([0.05, 0.02], dtype=DOUBLE)[:, None] * extents * image[0, 0].numel() / 2
    for sign in (1, -1):
        torch.testing.assert_close(spectrum[(..., *[sign * k for k in place])], amplitude)
        spectrum[(..., *[sign * k for k in place])] = 0
    assert float(spectrum.max()) < 1e-9


def test_monais_spike_is_a_wave_of_ours():
    image, perturbation = images(2)[:1], Spike(spikes=1, seed=3)
    place = perturbation.places(image)[0]
    centred = tuple((place + torch.tensor(image.shape[2:]) // 2).tolist())
    monai = torch.as_tensor(KSpaceSpikeNoise(centred, 6.0)(image[0])) - image[0]
    units = torch.eye(2, dtype=DOUBLE).unsqueeze(1)
    waves = torch.cat([perturbation.apply(image, unit[None]) - image for unit in units])
    for channel in range(2):
        basis, target = waves[:, channel].flatten(1).T, monai[channel].flatten()
        amplitudes = torch.linalg.lstsq(basis, target[:, None]).solution
        assert float(target.abs().max()) > 0.1
        torch.testing.assert_close((basis @ amplitudes).squeeze(1), target, atol=1e-9, rtol=0)


@pytest.mark.parametrize("theta", [45.0, -62.0])
def test_ringing_is_monais(theta):
    image = torch.rand(2, 3, 31, 31, dtype=DOUBLE)
    found = Gibbs(edge=1e-5).apply(image, torch.full((2, 1), theta, dtype=DOUBLE))
    for one, result in zip(image, found, strict=True):
        expected = torch.as_tensor(GibbsNoise(abs(theta) / 100)(one))
        torch.testing.assert_close(result, expected.to(DOUBLE), atol=1e-9, rtol=0)


def test_a_change_of_one_frequency_changes_that_wave_alone():
    """Waves that repeat in each block; sizes that blocks do not divide are continued and cut again."""
    grid, block = (12, 10, 8), 4
    place = np.indices(grid)
    frequencies = [(0, 0, 1), (1, 2, 1), (3, 1, 1)]
    waves = [np.cos(2 * math.pi / block * sum(k * x for k, x in zip(f, place, strict=True)) + 0.3) for f in frequencies]
    image = torch.as_tensor(sum(waves))[None, None]
    for frequency, wave in zip(frequencies, waves, strict=True):
        theta = torch.zeros(1, block, block, block // 2 + 1, dtype=DOUBLE)
        theta[0][frequency] = 30.0
        change = (Frequency(block=block).apply(image, theta) - image)[0, 0].numpy()
        np.testing.assert_allclose(change[:, :8], 0.3 * wave[:, :8], atol=1e-12)  # whole blocks


def test_all_frequencies_together_are_a_gain():
    image = images(3)
    theta = torch.full((2, 8, 8, 5), 12.0, dtype=DOUBLE)
    gain = Gain().apply(image, torch.full((2, 1, 1, 1), 12.0, dtype=DOUBLE))
    torch.testing.assert_close(Frequency().apply(image, theta), gain)


def test_powerline_hum_is_one_line_of_the_spectrum():
    signal = torch.rand(1, 2, 200, dtype=DOUBLE)
    hum = Powerline(frequency=0.05).apply(signal, torch.tensor([[3.0, -4.0]], dtype=DOUBLE)) - signal
    spectrum = torch.fft.rfft(hum).abs()[0] / 100
    assert spectrum.argmax(dim=1).tolist() == [10, 10]
    torch.testing.assert_close(spectrum[:, 10], 0.05 * (signal.amax(2) - signal.amin(2))[0])
    assert float(spectrum[:, 11:].max()) < 1e-12


def test_a_chain_is_its_parts_one_after_the_other():
    image, spacing = images(2), spacing_of(images(2))
    blur, shift, turn = Blur(), Translation(), Rotation()
    for parts in itertools.permutations([blur, shift, turn]):
        radii = [2.0, 3.0, 10.0]
        own = [random_theta(part, image, 0.8) for part in parts]
        expected = image
        label = expected_label = (image > 0).long()
        for part, theta, radius in zip(parts, own, radii, strict=True):
            expected = part.apply(expected, radius * theta, spacing)
            expected_label = part.apply_label(expected_label, radius * theta, image, spacing)
        chain = Compose(parts, radii)
        joined = torch.cat([theta.flatten(1) for theta in own], dim=1)
        torch.testing.assert_close(chain.apply(image, joined, spacing), expected)
        assert torch.equal(chain.apply_label(label, joined, image, spacing), expected_label)
        torch.testing.assert_close(chain.size(joined, image), torch.full((2,), 0.8, dtype=DOUBLE))


def test_each_part_of_a_chain_stays_inside_its_own_radius_and_moves_where_it_has_no_slope_at_zero():
    image = images(2)
    network = tiny_classifier(image.shape[1:])
    parts, radii = [Blur(norm="l2"), NoiseLevel(), Gibbs(), Translation()], [2.0, 5.0, 50.0, 3.0]
    chain, eps = Compose(parts, radii), torch.tensor([0.6, 1.0], dtype=DOUBLE)
    label = network(image).argmax(1)
    attack = PGD(steps=6, random_start=False, perturbation=chain)
    result = attack(network, image, label, eps, streams(range(2)), spacing=spacing_of(image))
    clean = PGD(steps=1, random_start=False, perturbation=Blur())
    fitted = clean.perturbation.fit(image, spacing_of(image))
    start = fitted.zero().requires_grad_()
    (slope,) = torch.autograd.grad(network(fitted.apply(start)).sum(), start)
    assert not slope.any()
    counts = [part.shape(image) for part in parts]
    blocks = result.theta.split([math.prod(count) for count in counts], dim=1)
    for part, block, count in zip(parts, blocks, counts, strict=True):
        size = part.size(block.reshape(2, *count), image)
        assert (size > 0).all(), part.name
        assert (size <= eps * (1 + 1e-12)).all(), part.name


def test_additive_noise_in_a_chain_is_plain_noise():
    image = images(2, batch=3)
    network = tiny_classifier(image.shape[1:])
    label = network(image).argmax(1)
    eps = torch.tensor([0.1, 0.5, 2.0], dtype=DOUBLE)
    for random_start in (False, True):
        plain = PGD("l2", steps=6, random_start=random_start)(network, image, label, eps, streams(range(3)))
        chain = Compose([Additive("l2")], [1.0])
        attack = PGD(steps=6, random_start=random_start, perturbation=chain)
        result = attack(network, image, label, eps, streams(range(3)))
        torch.testing.assert_close(result.image, plain.image, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.distance, plain.distance)
        assert torch.equal(result.success, plain.success)


def test_an_attack_in_degrees_returns_the_labels_that_turned():
    image, spacing = images(2), spacing_of(images(2))
    perturbation = Rotation()
    network = nn.Conv2d(2, 3, 3, padding=1).double()
    label = network(image).argmax(1, keepdim=True)
    attack = PGD(steps=3, perturbation=perturbation, criterion=DiceCriterion(threshold=0.99))
    result = attack(network, image, label, largest_level(perturbation), streams(range(2)), spacing=spacing)
    assert torch.equal(result.label, perturbation.apply_label(label, result.theta, image, spacing))
    assert not torch.equal(result.label, label)
