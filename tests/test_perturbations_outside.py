"""Perturbations with labels, images and voxel sizes as people have them: what a newcomer found."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_ima.attacks import APGD, PGD, BoundaryPGD
from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion
from monai_ima.evaluation import evaluate
from monai_ima.methods import TRADES
from monai_ima.perturbations import (
    PERTURBATIONS,
    Additive,
    Blur,
    Compose,
    CTDose,
    InMillimetres,
    Motion,
    NoiseLevel,
    Rotation,
    Translation,
    perturbation_from_name,
)
from monai_ima.perturbations.fields import noise_deviation
from monai_ima.results.perturbation_list import perturbation_list
from monai_ima.results.perturbed import mean_degradation


class Perfect(nn.Module):
    """Foreground is what is brighter than 0.5, wherever it lies."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def object_in(size: int = 16) -> torch.Tensor:
    image = torch.zeros(2, 1, size, size)
    image[0, :, 5:10, 6:10] = 1
    image[1, :, 3:7, 8:12] = 1
    return image


def one_hot(label: torch.Tensor) -> torch.Tensor:
    return torch.cat([1 - label, label], dim=1)


LABELS = {
    "index map": lambda image: image.long(),
    "no channel axis": lambda image: image[:, 0].long(),
    "one-hot": lambda image: one_hot(image),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("perturbation", ["translation(spacing=1)@3", "rotation(spacing=1)@30"])
def test_a_perfect_network_stays_so_whatever_the_labels_shape(kind, perturbation, tmp_path):
    image = object_in()
    results = evaluate(
        Perfect(),
        [(image, LABELS[kind](image))],
        [0.0],
        "linf",
        "pgd3",
        out=tmp_path / "out",
        criterion=DiceCriterion("lowest"),
        perturbation=perturbation,
        draws=3,
    )
    (found,) = results.perturbations
    assert found.worst.values[1] > 0.8
    assert found.average.values[1] > 0.9


def test_outside_of_a_one_hot_map_is_background():
    image = object_in()
    moved = Translation(spacing=1).apply_label(one_hot(image), torch.tensor([[6.0, 2.0], [0.0, -9.0]]), image)
    assert torch.equal(moved.sum(dim=1), torch.ones(2, 16, 16))
    assert torch.equal(
        moved[:, 1:].round(), Translation(spacing=1).apply_label(image, torch.tensor([[6.0, 2.0], [0.0, -9.0]]), image)
    )


def test_outside_of_independent_maps_nothing_is():
    image = object_in()
    maps = torch.cat([image, torch.zeros_like(image)], dim=1)
    moved = Translation(spacing=1).apply_label(maps, torch.full((2, 2), 20.0), image)
    assert float(moved.abs().sum()) == 0


def test_label_maps_of_another_grid_are_refused():
    image = object_in()
    with pytest.raises(ValueError, match=r"labels of shape \(2, 1, 8, 8\) .* under rotation, expected label maps on"):
        Rotation(spacing=1).apply_label(image[:, :, ::2, ::2], torch.zeros(2, 1), image)


@pytest.mark.parametrize(
    "attack", [PGD(steps=10), BoundaryPGD(steps=10), APGD(steps=10)], ids=lambda attack: type(attack).__name__
)
def test_a_label_that_has_left_the_image_breaks_nothing(attack):
    image = object_in()
    attack = type(attack)(steps=10, criterion=DiceCriterion(0.5), perturbation=Translation(spacing=1))
    result = attack(Perfect(), image, image.long(), 30.0)
    assert not result.success.any()


def test_a_size_without_a_score_leaves_no_mean_degradation():
    assert mean_degradation([0.8, 0.4, None]) is None
    assert mean_degradation([0.8, 0.4, 0.6]) == pytest.approx((0.5 + 0.25) / 2)


def test_draws_that_lose_the_label_are_told_of(tmp_path, caplog):
    image = object_in()
    results = evaluate(
        Perfect(),
        [(image, image.long())],
        [0.0],
        "linf",
        "pgd2",
        out=tmp_path / "out",
        perturbation="translation(spacing=1)@2:200",
        draws=2,
    )
    assert "translation of 200 mm moves the whole label of 2 of 2 samples" in caplog.text.replace("(spacing=1) ", "")
    assert results.perturbations[0].degradation.average is None


@pytest.mark.parametrize("second", ["noise:5", "ct_dose(noise=0.05):50", "rician:5", "speckle:5"])
def test_links_of_noise_are_independent_of_each_other(second):
    image = torch.rand(1, 1, 64, 64)
    chain = perturbation_from_name(f"noise:5+{second}")
    fitted = chain.fit(image)
    both = torch.ones(1, 32)
    first, other = both.clone(), both.clone()
    first[:, 16:], other[:, :16] = 0, 0
    one, two = (fitted.apply(theta) - image for theta in (first, other))
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])) < 0.1
    alone = perturbation_from_name("noise").apply(image, torch.full((1, 4, 4), 5.0)) - image
    torch.testing.assert_close(one, alone)


def test_the_noise_of_a_clipped_image_is_that_of_the_rest():
    generator = torch.Generator().manual_seed(0)
    image = torch.full((1, 1, 128, 128), -1000.0)
    image[:, :, 32:96, 32:96] = 40
    noisy = (image + 20 * torch.randn(image.shape, generator=generator)).clamp(-1000, 1000)
    assert float(noise_deviation(noisy)) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(
    "spacing", [-torch.ones(2, 2), torch.zeros(2, 2), torch.ones(3, 2), [1.0, 2.0, 3.0], -1.0, "mm", float("nan")]
)
def test_bad_voxel_sizes_of_a_call_are_refused(spacing):
    with pytest.raises(ValueError, match=r"Got spacing .* expected mm per voxel > 0"):
        PGD(steps=1, perturbation=Blur())(
            nn.Flatten(), object_in(), torch.zeros(2, dtype=torch.long), 1.0, spacing=spacing
        )


@pytest.mark.parametrize("spacing", [2.0, [1.0, 2.0], torch.tensor([[1.0, 2.0]]), np.array([1.0, 2.0])])
def test_one_voxel_size_serves_all_samples(spacing):
    image = object_in()
    fitted = Blur().fit(image, spacing)
    assert fitted.constants["spacing"].shape == (2, 2)
    assert fitted.select(torch.tensor([1])).constants["spacing"].shape == (1, 2)


def test_one_affine_serves_a_repeated_image_and_affines_that_fit_none_are_refused():
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0]))
    one = MetaTensor(object_in()[:1], affine=affine[None])
    assert Blur().fit(one.repeat(2, 1, 1, 1)).constants["spacing"].tolist() == [[2.0, 3.0]] * 2
    three = MetaTensor(torch.cat([object_in(), object_in()[:1]]), affine=affine.repeat(3, 1, 1))
    two = MetaTensor(three.as_tensor()[:2], affine=affine.repeat(3, 1, 1))
    with pytest.raises(ValueError, match="Got 3 affines for 2 images"):
        Blur().fit(two)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in PERTURBATIONS if name != "powerline"])
def test_half_precision_images_are_changed_in_full_precision(name, dtype):
    kind = PERTURBATIONS[name]
    made = kind(spacing=1.0) if issubclass(kind, InMillimetres) else kind()
    image = torch.rand(2, 1, 8, 9).to(dtype)
    fitted = made.fit(image)
    assert torch.equal(fitted.apply(fitted.zero()), image)
    theta = made.norm_of(image).draw_of_length(
        fitted.zero(), torch.full((2,), made.levels[0]), torch.Generator().manual_seed(0)
    )
    full = made.fit(image.float()).apply(theta)
    found = fitted.apply(theta)
    assert found.dtype == dtype
    if name not in ("noise", "rician", "speckle", "ct_dose"):  # whose pattern hangs on every bit of the image
        torch.testing.assert_close(found.float(), full, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ct_dose@500", "Got size 500 in 'ct_dose@500', expected at most 99 %"),
        ("gibbs@300", "expected at most 99 %"),
        ("gamma@1e6", "expected at most 300 %"),
        ("bias_field@10,20", "Got '20' in 'bias_field@10,20', expected a name: sizes are separated by colons"),
        ("bias_field(point=3)", "Got setting 'point' of bias_field, expected one of points, norm"),
    ],
)
def test_sentences_say_what_was_expected(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        perturbation_list(text)


def test_an_attack_beyond_the_largest_size_is_refused():
    with pytest.raises(ValueError, match="Got eps 120 for ct_dose, expected at most 99 %"):
        PGD(steps=1, perturbation=CTDose(noise=1))(nn.Flatten(), object_in(), torch.zeros(2, dtype=torch.long), 120.0)
    with pytest.raises(ValueError, match=r"Got a blur of .* voxels"):
        Blur(spacing=1).apply(object_in(), torch.full((2, 2), 1e4))


def test_a_voxel_size_for_every_axis_has_a_grammar():
    motion = perturbation_from_name("motion(spacing=1x1x3)")
    assert isinstance(motion, Motion)
    assert motion.spacing == (1, 1, 3)
    assert perturbation_list("bias_field()")[0].title == "bias field"


def test_trades_takes_a_rotation_of_a_classifier_only():
    rotation = Rotation(spacing=1)
    assert TRADES(eps=5.0, perturbation=rotation, criterion=ClassificationCriterion()).perturbation is rotation
    assert TRADES(eps=5.0, perturbation=rotation, criterion=BinaryCriterion()).perturbation is rotation
    chain = Compose([rotation, NoiseLevel()], [5, 5])
    with pytest.raises(ValueError, match="for TRADES of a segmentation"):
        TRADES(eps=1.0, perturbation=chain, criterion=DiceCriterion(0.5))


@pytest.mark.parametrize("theta", [[[1.0]], torch.full((2, 4, 2), float("nan"))])
def test_theta_is_a_finite_tensor(theta):
    with pytest.raises((TypeError, ValueError)):
        Motion(spacing=1).apply(object_in(), theta)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_additive_noise_is_what_attacks_use_by_default_to_the_last_bit(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 3))
    image = torch.rand(6, 2, 4, 4)
    label = network(image).argmax(1)
    for kind, settings in ((PGD, {"steps": 10}), (BoundaryPGD, {"restarts": 2}), (APGD, {"steps": 10})):
        by_default = kind(norm, bounds=(0, 1), **settings)(network, image, label, 0.5)
        named = kind("l2", bounds=(0, 1), perturbation=Additive(norm), **settings)(network, image, label, 0.5)
        assert torch.equal(named.image, by_default.image)
        assert torch.equal(named.distance, by_default.distance)
        assert named.theta is None
