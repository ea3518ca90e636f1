"""The inferred scale of a network's intensities, against what MONAI's transforms do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.bundle import ConfigComponent
from monai.transforms import Compose

from monai_ima.harden.intensity import find_normalisation
from monai_ima.harden.reading import Component, TrainingConfig
from monai_ima.results.parts import Units

WINDOW = {"_target_": "ScaleIntensityRanged", "a_min": -100, "a_max": 300, "b_min": 0, "b_max": 1, "clip": True}
PIPELINES: dict[str, list[dict[str, Any]]] = {
    "window": [WINDOW],
    "window to the unit range, not clipped": [{"_target_": "ScaleIntensityRanged", "a_min": -100, "a_max": 300}],
    "window, then to [-1, 1]": [WINDOW, {**WINDOW, "a_min": 0, "a_max": 1, "b_min": -1}],
    "window, then by numbers": [WINDOW, {"_target_": "NormalizeIntensityd", "subtrahend": 0.4, "divisor": 0.2}],
    "by numbers": [{"_target_": "NormalizeIntensityd", "subtrahend": 50, "divisor": 80}],
    "window, then by the image's mean": [WINDOW, {"_target_": "NormalizeIntensityd", "divisor": 0.2}],
    "window, then of each image": [WINDOW, {"_target_": "NormalizeIntensityd"}],
    "of each image": [{"_target_": "ScaleIntensityd", "minv": -1}],
    "of each image, then by channel": [
        {"_target_": "ScaleIntensityd"},
        {"_target_": "NormalizeIntensityd", "subtrahend": [0.5, 0.4], "divisor": [0.25, 0.2], "channel_wise": True},
    ],
    "percentiles": [{"_target_": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 99, "b_min": 0, "b_max": 2}],
}
BOUNDED = {"window", "window, then to [-1, 1]", "window, then by numbers", "of each image"}
PHYSICAL = {
    "window",
    "window to the unit range, not clipped",
    "window, then to [-1, 1]",
    "window, then by numbers",
    "by numbers",
}
OF_IMAGE = "window, then by the image's mean"
"""Its mean shifts with the image, its slope does not."""


def normalisation(steps, tmp_path, metadata=None):
    config = TrainingConfig(tmp_path, [tmp_path / "train.json"], {"steps": steps}, metadata or {})
    return find_normalisation(config, [Component(f"steps::{k}", step) for k, step in enumerate(steps)], "image")


@pytest.mark.parametrize("name", PIPELINES)
def test_scale_and_bounds_are_those_of_the_transforms(name, tmp_path):
    """Bounds, and the physical difference of two images in one pixel against the network's."""
    steps = [{**step, "keys": "image"} for step in PIPELINES[name]]
    result = normalisation(steps, tmp_path)
    pipeline = Compose([ConfigComponent(step).instantiate() for step in steps])  # type: ignore[misc]
    image = torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0)) * 2000 - 1000
    image[0, 0, :2] = torch.tensor([90.0, 100.0])
    seen = pipeline({"image": image})["image"]
    step = float(seen[0, 0, 1] - seen[0, 0, 0])
    if name in PHYSICAL | {OF_IMAGE}:
        assert result.slope * step == pytest.approx(10, rel=1e-4)
        assert result.units.name == "intensity units"
        assert step * result.units.per_unit == pytest.approx(10, rel=1e-4)
    else:
        assert result.slope is None
        assert result.file_units is None
    if name in BOUNDED:
        assert (float(seen.min()), float(seen.max())) == pytest.approx(result.bounds, abs=1e-5)
    else:
        assert result.bounds is None


@pytest.mark.parametrize(("name", "width"), [("window, then by numbers", 5), ("of each image, then by channel", 4)])
def test_the_scale_follows_a_division(name, width, tmp_path):
    result = normalisation([{**step, "keys": "image"} for step in PIPELINES[name]], tmp_path)
    assert result.scale == pytest.approx(width), "1 / 0.2, and 1 / 0.25, the narrower channel"


def test_arguments_that_need_an_expression_make_it_unknown(tmp_path):
    steps = [{"_target_": "ScaleIntensityd", "keys": "image"}]
    assert normalisation(steps, tmp_path).bounds == (0, 1)
    steps.append({"_target_": "NormalizeIntensityd", "keys": "image", "divisor": "$np.array([2.0])"})
    assert normalisation(steps, tmp_path) is None
    described = {"network_data_format": {"inputs": {"image": {"value_range": [0, 2]}}}}
    assert normalisation(steps, tmp_path, described).bounds == (0, 2)


def test_noise_after_scaling_removes_the_bounds_and_scaling_after_noise_brings_them_back(tmp_path):
    scaled = {"_target_": "ScaleIntensityd", "keys": "image"}
    noise = {"_target_": "RandGaussianNoised", "keys": "image"}
    assert normalisation([scaled, noise], tmp_path).bounds is None
    assert normalisation([noise, scaled], tmp_path).bounds == (0, 1)


def test_in_ct_units_are_hounsfield_units(tmp_path):
    metadata = {"network_data_format": {"inputs": {"image": {"modality": "CT"}}}}
    assert normalisation([{**WINDOW, "keys": "image"}], tmp_path, metadata).units == Units("HU", 400.0)


@pytest.mark.parametrize(
    "steps",
    [
        [{"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1}],
        [{"_target_": "NormalizeIntensityd", "divisor": 255, "subtrahend": 0}],
        [
            {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
            {"_target_": "NormalizeIntensityd", "subtrahend": 0.5, "divisor": 0.25},
        ],
    ],
)
def test_images_of_8_bits_have_grey_levels(steps, tmp_path):
    steps = [{**step, "keys": "image"} for step in steps]
    pipeline = Compose([ConfigComponent(step).instantiate() for step in steps])  # type: ignore[misc]
    seen = pipeline({"image": torch.tensor([[[100.0, 103.0, 7.0]]])})["image"]
    units = normalisation(steps, tmp_path).units
    assert units.name == "grey levels"
    assert float(seen[0, 0, 1] - seen[0, 0, 0]) * units.per_unit == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize(
    "after", [[], [{"_target_": "ScaleIntensityRanged", "a_min": -5, "a_max": 5, "b_min": 0, "b_max": 1}]]
)
def test_z_scored_images_are_measured_in_their_own_standard_deviation(after, channel_wise, tmp_path):
    steps = [{"_target_": "NormalizeIntensityd", "channel_wise": channel_wise}, *after]
    steps = [{**step, "keys": "image"} for step in steps]
    pipeline = Compose([ConfigComponent(step).instantiate() for step in steps])  # type: ignore[misc]
    image = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0)) * torch.tensor([300.0, 50]).view(2, 1, 1)
    seen = pipeline({"image": image})["image"]
    deviation = float((image[0] if channel_wise else image).std(unbiased=False))
    found = normalisation(steps, tmp_path)
    assert found.file_units is None
    assert found.units.name == "SD of the image"
    one, other = (float(x[0, 0, 1] - x[0, 0, 0]) for x in (seen, image))
    assert one * found.units.per_unit == pytest.approx(other / deviation, rel=1e-4)


def test_of_a_scaling_to_each_images_own_range_no_unit_is_known(tmp_path):
    z_score, own_range = ({"_target_": name, "keys": "image"} for name in ("NormalizeIntensityd", "ScaleIntensityd"))
    assert normalisation([own_range], tmp_path).units is None
    assert normalisation([z_score, own_range], tmp_path).units is None


@pytest.mark.parametrize(
    ("step", "description"),
    [
        ({"_target_": "ScaleIntensityd"}, "ScaleIntensityd to [0, 1] of"),
        (
            {"_target_": "NormalizeIntensityd"},
            "NormalizeIntensityd: one unit is one standard deviation of",
        ),
        (
            {"_target_": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 99, "b_min": 0, "b_max": 1},
            "ScaleIntensityRangePercentilesd to [0, 1] of",
        ),
    ],
)
def test_the_description_says_whether_channels_are_scaled_by_themselves(step, description, tmp_path):
    """As MONAI does: with ``channel_wise`` a channel of ten times the contrast looks the same afterwards."""
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    image = torch.cat([image, 10 * image])
    for channel_wise, whose in ((False, "each image"), (True, "each channel of each image")):
        given = {**step, "keys": "image", "channel_wise": channel_wise}
        seen = ConfigComponent(given).instantiate()({"image": image})["image"]  # type: ignore[misc]
        assert torch.allclose(seen[0], seen[1], atol=1e-5) == channel_wise
        assert normalisation([given], tmp_path).description == f"{description} {whose}"
