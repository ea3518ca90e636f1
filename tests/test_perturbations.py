"""What holds of every perturbation: θ = 0 changes nothing, slopes, independence of the batch, sizes within ε."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attack_problems import streams
from conftest import REPO
from monai.data import MetaTensor
from torch import nn

from monai_ima import perturbations
from monai_ima.attacks import APGD, PGD, SPSA, BoundaryPGD, MinimumNorm, UniformNoise
from monai_ima.criteria import DiceCriterion
from monai_ima.perturbations import (
    PERTURBATIONS,
    Additive,
    Compose,
    Elastic,
    Gain,
    InMillimetres,
    Motion,
    NoiseLevel,
    Perturbation,
    Rotation,
    perturbation_from_name,
)
from monai_ima.utils.perturbation_names import PERTURBATION_NAMES
from monai_ima.utils.spacing import image_spacing

GRIDS = {1: (21,), 2: (9, 12), 3: (6, 7, 8)}
ALL, NOT_1D, ONLY_1D = (1, 2, 3), (2, 3), (1,)
AXES = {
    "bias_field": ALL,
    "gamma": ALL,
    "intensity_shift": ALL,
    "noise": ALL,
    "rician": ALL,
    "speckle": ALL,
    "ct_dose": ALL,
    "gain": ALL,
    "baseline_wander": ALL,
    "blur": ALL,
    "motion": ALL,
    "motion_rotation": NOT_1D,
    "ghosting": ALL,
    "spike": ALL,
    "gibbs": ALL,
    "frequency": ALL,
    "rotation": NOT_1D,
    "translation": NOT_1D,
    "elastic": NOT_1D,
    "powerline": ONLY_1D,
}
"""Dimensions of the images that each is made for."""
CHAINS = {
    "additive": (Additive, ALL),
    "compose": (lambda: Compose([Rotation(), NoiseLevel(), Gain(norm="l2")], [5, 4, 20]), NOT_1D),
}
MADE: dict[str, tuple[Callable[[], Perturbation], tuple[int, ...]]] = {
    **{name: (kind, AXES.get(name, ())) for name, kind in PERTURBATIONS.items()},
    **CHAINS,
}
CASES = [pytest.param(make, axes, id=f"{name}-{axes}d") for name, (make, fit) in MADE.items() for axes in fit]
REFUSED = [
    pytest.param(make, axes, id=f"{name}-{axes}d")
    for name, (make, fit) in MADE.items()
    for axes in ALL
    if axes not in fit
]
SPACING = (1.0, 2.0, 0.5)


def images(axes: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Smooth images with some noise, negative values among them."""
    generator = torch.Generator().manual_seed(5)
    image = torch.randn((batch, 2, *GRIDS[axes]), generator=generator, dtype=torch.float64)
    for axis in range(2, image.ndim):
        image = image + image.roll(1, axis) + image.roll(2, axis)
    return image.to(dtype)


def spacing_of(image: torch.Tensor) -> torch.Tensor:
    return torch.tensor(SPACING[: image.ndim - 2], dtype=torch.float64).expand(len(image), -1)


def largest_level(perturbation: Perturbation) -> float:
    return perturbation.levels[-1] if perturbation.levels else 1.0


def random_theta(perturbation: Perturbation, image: torch.Tensor, size: float, seed: int = 0) -> torch.Tensor:
    """θ of exactly this size."""
    like = image.new_zeros(len(image), *perturbation.shape(image))
    radius = image.new_full((len(image),), size)
    return perturbation.norm_of(image).draw_of_length(like, radius, torch.Generator().manual_seed(seed))


def test_every_perturbation_is_tested():
    assert set(AXES) == set(PERTURBATIONS)
    classes = {value for value in vars(perturbations).values() if isinstance(value, type)}
    concrete = {c for c in classes if issubclass(c, Perturbation) and c not in (Perturbation, InMillimetres)}
    assert concrete == {*PERTURBATIONS.values(), Additive, Compose}


@pytest.mark.parametrize("kind", PERTURBATIONS.values())
def test_every_perturbation_says_what_it_is(kind):
    made = kind()
    assert PERTURBATIONS[made.name] is kind
    assert made.title
    assert made.unit
    assert made.levels == tuple(sorted(set(made.levels)))
    assert len(made.levels) >= 3
    assert made.levels[0] > 0


@pytest.mark.parametrize(("make", "axes"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_changes_at_zero_to_the_last_bit(make, axes, dtype):
    perturbation = make()
    image = images(axes, dtype=dtype)
    flat = torch.full_like(image, -0.3)
    for one in (image, image.abs() + 0.1, flat, torch.zeros_like(image), 1e4 * image):
        theta = torch.zeros(len(one), *perturbation.shape(one), dtype=dtype)
        assert torch.equal(perturbation.apply(one, theta, spacing_of(one)), one)
    fitted = perturbation.fit(image, spacing_of(image))
    assert torch.equal(fitted.apply(fitted.zero()), image)
    assert fitted.zero().dtype == dtype


@pytest.mark.parametrize(("make", "axes"), CASES)
def test_something_changes_at_the_largest_level_and_the_size_is_that_level(make, axes):
    perturbation = make()
    image, level = images(axes), largest_level(make())
    theta = random_theta(perturbation, image, level)
    changed = perturbation.apply(image, theta, spacing_of(image))
    assert ((changed - image).abs().flatten(1).amax(dim=1) > 1e-3).all()
    assert changed.isfinite().all()
    torch.testing.assert_close(perturbation.size(theta, image), torch.full((2,), level).double())


@pytest.mark.parametrize(("make", "axes"), CASES)
def test_slopes_in_theta_are_those_of_finite_differences(make, axes):
    perturbation = make()
    image = images(axes)
    fitted = perturbation.fit(image, spacing_of(image))
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # MONAI computes a blur's kernel in float32.
    step, rtol = (2e-3, 1e-2) if perturbation.name == "blur" else (1e-6, 1e-5)

    def value(theta: torch.Tensor) -> torch.Tensor:
        return (fitted.apply(theta) * weights).sum()

    theta = 0.7 * random_theta(perturbation, image, largest_level(perturbation))
    theta.requires_grad_()
    (slope,) = torch.autograd.grad(value(theta), theta)
    for seed in range(3):
        direction = random_theta(perturbation, image, 1.0, seed=10 + seed)
        with torch.no_grad():
            difference = (value(theta + step * direction) - value(theta - step * direction)) / (2 * step)
        torch.testing.assert_close((slope * direction).sum(), difference, rtol=rtol, atol=1e-4 * float(slope.norm()))
    assert slope.abs().max() > 0


@pytest.mark.parametrize(("make", "axes"), CASES)
@pytest.mark.parametrize("kind", ["plain", "constant"])
def test_slopes_at_zero_are_finite(make, axes, kind):
    perturbation = make()
    image = images(axes, dtype=torch.float32)
    image = torch.full_like(image, 2.0) if kind == "constant" else image
    fitted = perturbation.fit(image, spacing_of(image))
    theta = fitted.zero().requires_grad_()
    (slope,) = torch.autograd.grad(fitted.apply(theta).square().sum(), theta)
    assert slope.isfinite().all()


@pytest.mark.parametrize(("make", "axes"), CASES)
def test_a_sample_is_changed_alike_in_every_batch(make, axes):
    perturbation = make()
    image = images(axes, batch=3)
    theta = random_theta(perturbation, image, largest_level(perturbation))
    spacing = spacing_of(image) * torch.tensor([[1.0], [1.5], [0.7]])
    together = perturbation.apply(image, theta, spacing)
    for k in range(3):
        alone = perturbation.apply(image[k : k + 1], theta[k : k + 1], spacing[k : k + 1])
        torch.testing.assert_close(alone[0], together[k], rtol=1e-12, atol=1e-12)
    picked = perturbation.fit(image, spacing).select(torch.tensor([2, 0])).apply(theta[[2, 0]])
    torch.testing.assert_close(picked, together[[2, 0]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("make", "axes"), REFUSED)
def test_images_of_other_dimensions_are_refused_in_one_sentence(make, axes):
    image = images(axes)
    with pytest.raises(ValueError, match=r"^Got images of .*, expected [^.]*\.$"):
        make().fit(image, spacing_of(image))


def tiny_classifier(shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(4)
    features = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def tiny_segmenter(shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(4)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[len(shape) - 1]
    return nn.Sequential(conv(shape[0], 4, 3, padding=1), nn.Tanh(), conv(4, 3, 1)).double()


ATTACKS: dict[str, Callable[[Perturbation, Any], Any]] = {
    "pgd": lambda p, c: PGD(steps=4, perturbation=p, criterion=c),
    "boundary": lambda p, c: BoundaryPGD(steps=4, perturbation=p, criterion=c),
    "apgd": lambda p, c: APGD(steps=4, perturbation=p, criterion=c),
    "spsa": lambda p, c: SPSA(steps=2, samples=4, perturbation=p, criterion=c),
    "uniform": lambda p, c: UniformNoise(draws=3, perturbation=p, criterion=c),
    "minimum": lambda p, c: MinimumNorm(steps=4, rounds=2, perturbation=p, criterion=c),
}


@pytest.mark.parametrize("name", [name for name in MADE if name != "additive"])
def test_no_attack_goes_beyond_its_radius(name):
    """Random radii, 0 among them; every attack on a classifier and on a network of maps."""
    make, fit = MADE[name]
    axes = 2 if 2 in fit else fit[0]
    random = torch.Generator().manual_seed(len(name))
    image = images(axes)
    for k, attack_of in enumerate(ATTACKS.values()):
        perturbation = make()
        eps = largest_level(perturbation) * torch.rand(2, generator=random, dtype=torch.float64) * (k != 1)
        networks: list[tuple[nn.Module, Any]] = [(tiny_classifier(image.shape[1:]), None)]
        if axes > 1:
            networks.append((tiny_segmenter(image.shape[1:]), DiceCriterion(threshold=0.9)))
        for network, criterion in networks:
            label = network(image).argmax(dim=1, keepdim=criterion is not None)
            attack = attack_of(perturbation, criterion)
            result = attack(network, image, label, eps, streams(range(2)), spacing=spacing_of(image))
            size = perturbation.size(result.theta, image)
            assert (size <= eps * (1 + 1e-12)).all()
            torch.testing.assert_close(result.distance, size)
            again = perturbation.apply(image, result.theta, spacing_of(image))
            torch.testing.assert_close(result.image, again, rtol=1e-12, atol=1e-12)
            assert (result.label is not None) == perturbation.geometric


GOOD_NAMES = [
    ("bias_field", "bias_field"),
    (" bias_field(points=6) ", "bias_field"),
    ("motion(spacing=1, segments=8)", "motion"),
    ("powerline(frequency=0.2)", "powerline"),
    ("noise(kind=rician)", "noise"),
    ("gain:10", "compose"),
    ("bias_field:30+noise:5+gamma:30", "compose"),
    ("rotation(spacing=1):5 + translation(spacing=1):2.5", "compose"),
]


@pytest.mark.parametrize(("text", "name"), GOOD_NAMES)
def test_a_good_name_makes_the_perturbation(text, name):
    assert perturbation_from_name(text).name == name


def test_settings_of_a_name_arrive():
    motion = perturbation_from_name("motion(spacing=1.5,segments=8)")
    assert isinstance(motion, Motion)
    assert motion.segments == 8
    assert motion.spacing == (1.5,)
    chain = perturbation_from_name("bias_field(points=2):30+noise:5")
    assert isinstance(chain, Compose)
    assert chain.radii == (30.0, 5.0)
    assert chain.parts[0].shape(images(2)) == (2, 2)


BAD_NAMES = [
    None,
    5,
    "",
    "x",
    "bias field",
    "bias_field(",
    "bias_field(points)",
    "bias_field(points=)",
    "bias_field(points=0)",
    "bias_field(points=x)",
    "bias_field(order=3)",
    "bias_field:30+noise",
    "bias_field+noise",
    "bias_field:x+noise:5",
    "bias_field:0+noise:5",
    "bias_field:-3",
    "bias_field:nan",
    "bias_field:30+",
    "motion(spacing=0)",
    "motion(axis=7)",
    "motion(segments=1)",
    "motion(spacing=-1):1",
    "powerline(frequency=0.5)",
    "ghosting(ghosts=0)",
    "ghosting(axis=0.5)",
    "spike(spikes=0)",
    "spike(seed=-1)",
    "gibbs(edge=0)",
    "frequency(block=1)",
    "elastic(points=0)",
    "blur(norm=l3)",
]


@pytest.mark.parametrize("text", BAD_NAMES)
def test_a_bad_name_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match=r"^(Got|Unknown) (?!.*\. ).*\.$"):
        perturbation_from_name(text)


MILLIMETRES = [kind for kind in PERTURBATIONS.values() if issubclass(kind, InMillimetres)]


@pytest.mark.parametrize("kind", MILLIMETRES)
def test_an_image_that_does_not_know_its_voxels_is_refused_where_millimetres_count(kind):
    assert {k.name for k in MILLIMETRES} == {"blur", "motion", "motion_rotation", "rotation", "translation", "elastic"}
    with pytest.raises(ValueError, match=rf"do not know how large their voxels are, which {kind.name} needs"):
        kind().fit(images(2))
    with pytest.raises(ValueError, match=r"Got spacing \(1.0, 2.0, 3.0\) for images of 2 axes"):
        kind(spacing=(1.0, 2.0, 3.0)).fit(images(2))


def test_the_affine_of_each_image_says_how_large_its_voxels_are():
    turned = torch.tensor([[0.0, -3.0, 0.0, 7.0], [2.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]])
    affines = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 4.0, 1.0])), turned])
    image = MetaTensor(images(3), affine=affines)
    assert image_spacing(image).tolist() == [[1.0, 2.0, 4.0], [2.0, 3.0, 0.5]]
    theta = random_theta(Elastic(), images(3), 2.0)
    given = Elastic().apply(images(3), theta, torch.tensor([[1.0, 2.0, 4.0], [2.0, 3.0, 0.5]]))
    assert torch.equal(Elastic().apply(image, theta), given)


def test_an_attack_takes_the_size_of_voxels_from_the_affine():
    image, spacing = images(2), spacing_of(images(2))
    network, attack = tiny_classifier(image.shape[1:]), PGD(steps=3, perturbation=Rotation())
    label, eps = network(image).argmax(1), 10.0
    affine = torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    found = attack(network, MetaTensor(image, affine=torch.stack([affine] * 2)), label, eps, streams(range(2)))
    given = attack(network, image, label, eps, streams(range(2)), spacing=spacing)
    assert torch.equal(found.theta, given.theta)
    with pytest.raises(ValueError, match="do not know how large their voxels are"):
        attack(network, image, label, eps)


@pytest.mark.parametrize(("make", "axes"), CASES)
def test_mixed_precision_around_it_changes_nothing(make, axes):
    perturbation = make()
    image = images(axes, dtype=torch.float32)
    fitted = perturbation.fit(image, spacing_of(image))
    theta = random_theta(perturbation, image, largest_level(perturbation))
    with torch.autocast("cpu", torch.bfloat16):
        mixed, label = fitted.apply(theta), fitted.apply_label(image > 0, theta)
    assert torch.equal(mixed, fitted.apply(theta))
    assert torch.equal(label, fitted.apply_label(image > 0, theta))


BAD_SETTINGS: dict[str, tuple[Any, ...]] = {
    "norm": ("l1", 2, None, ["l2"]),
    "spacing": (0, -1.0, "x", (), [1, "x"], float("nan"), True),
    "points": (0, -1, 1.5, "4", True, None),
    "segments": (0, 1.5, "4", None),
    "ghosts": (0, 1.5, True),
    "spikes": (0, 1.5, None),
    "seed": (-1, 1.5, "x", None),
    "axis": (3, -4, 0.5, "x", None, True),
    "edge": (0, -1, float("inf"), "x", None),
    "block": (1, 2.5, "8", None),
    "frequency": (0, 0.5, -0.1, float("nan"), "x", None),
    "noise": (0, -1.0, "x", float("inf")),
    "kind": ("x", None, 5),
}


@pytest.mark.parametrize("made", PERTURBATIONS.values())
def test_every_setting_is_checked(made):
    for setting in inspect.signature(made).parameters:
        for value in BAD_SETTINGS[setting]:
            with pytest.raises(ValueError, match=rf"^(Got|Unknown) {setting}\b.*\.$"):
                made(**{setting: value})


def test_theta_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"Got θ of shape \(2, 3\) for gain, expected \(2, 1, 1\)"):
        Gain().apply(images(2), torch.zeros(2, 3))


def test_the_page_names_every_perturbation_once_with_its_unit_and_dimensions():
    page, _ = (REPO / "docs" / "perturbations.md").read_text().split("What holds of all:")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    found = {name.strip("`"): row for row in rows for name in row[0].split(", ")}
    assert sum(len(row[0].split(", ")) for row in rows) == len(found)
    assert set(found) == set(PERTURBATIONS)
    for name, (_, _, theta, fit) in found.items():
        assert PERTURBATIONS[name].unit in theta, name
        assert fit == {ALL: "all", NOT_1D: "2-D, 3-D", ONLY_1D: "1-D"}[AXES[name]], name


def test_the_names_in_help_texts_are_those_of_the_registry():
    assert tuple(PERTURBATIONS) == PERTURBATION_NAMES


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("first", ["bias_field", "noise", "intensity_shift"])
def test_slopes_of_a_chain_are_finite_everywhere(first, name):
    kind = PERTURBATIONS[name]
    axes = AXES[name][0]
    image = images(axes).float()
    image[..., 0] = image.amin()
    made = kind(spacing=1.0) if issubclass(kind, InMillimetres) else kind()
    chain = Compose([PERTURBATIONS[first](), made], [40.0, made.levels[-1]])
    fitted = chain.fit(image)
    for size in (0.0, 0.3, 1.0):
        theta = (
            chain.norm_of(image).draw_of_length(
                fitted.zero(), torch.full((len(image),), size), torch.Generator().manual_seed(1)
            )
            if size
            else fitted.zero()
        )
        theta.requires_grad_()
        changed = fitted.apply(theta)
        (slope,) = torch.autograd.grad(
            (changed * torch.linspace(-1, 1, changed[0].numel()).view_as(changed[:1])).sum(), theta
        )
        assert torch.isfinite(slope).all()
