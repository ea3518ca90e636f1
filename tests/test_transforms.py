from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_ima.transforms import CenterSquareCropd, RandUniformNoise, RandUniformNoised, SampleIdd


def test_sample_ids_are_paths_below_the_root_whatever_the_machine(tmp_path):
    for root in (Path("/data/a"), Path("/mnt/other place")):
        before_loading = SampleIdd("image", root=root)({"image": str(root / "site" / "x.png")})
        loaded = MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": str(root / "site" / "x.png")})
        after_loading = SampleIdd(["image", "label"], root=root)({"image": loaded, "label": 1})
        assert before_loading["sample_id"] == after_loading["sample_id"] == "site/x.png"
    assert SampleIdd("image")({"image": "/data/a/x.png"})["sample_id"] == "/data/a/x.png"


def test_a_given_id_is_kept():
    assert SampleIdd("image", root="/r")({"image": "/r/x.png", "sample_id": "p7"})["sample_id"] == "p7"
    assert SampleIdd("image", id_key="case")({"image": "x.png"})["case"] == "x.png"


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"image": torch.zeros(1, 2, 2)}, "without a file name"),
        ({"image": "/elsewhere/x.png"}, "/elsewhere/x.png lies outside /r"),
        ({"image": "/r/x.png", "sample_id": 1.5}, "holds 1.5, expected a string or an integer"),
    ],
)
def test_items_without_identity_are_refused(item, sentence):
    with pytest.raises(ValueError, match=sentence):
        SampleIdd("image", root="/r")(item)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_noise_lies_in_the_ball_and_is_repeatable(norm):
    image = torch.full((1, 8, 8), 0.5)
    adder = RandUniformNoised(["image", "other"], eps=(0.1, 0.2), norm=norm, prob=1.0, bounds=(0.4, 1.0))
    adder.set_random_state(3)
    first, second = (adder({"image": image, "other": image, "label": 1}) for _ in range(2))
    adder.set_random_state(3)
    again = adder({"image": image, "other": image, "label": 1})
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], second["image"])
    assert torch.equal(first["image"], first["other"])
    noise = first["image"] - image
    length = noise.norm() if norm == "l2" else noise.abs().max()
    assert 0.05 < float(length) <= 0.2 + 1e-6
    assert first["image"].min() >= 0.4


def test_noise_comes_with_its_probability_and_keeps_the_array_type():
    adder = RandUniformNoise(0.1, prob=0.3).set_random_state(0)
    image = np.zeros((1, 4, 4), dtype=np.float32)
    noisy = [adder(image) for _ in range(400)]
    assert all(isinstance(n, np.ndarray) for n in noisy)
    assert 0.22 < np.mean([np.abs(n).max() > 0 for n in noisy]) < 0.38


def test_bad_noise_settings_are_refused():
    for bad in (-0.1, (0.3, 0.1), float("inf")):
        with pytest.raises(ValueError, match="Got eps"):
            RandUniformNoise(bad)
    with pytest.raises(ValueError, match="Got prob 2"):
        RandUniformNoise(0.1, prob=2)
    with pytest.raises(ValueError, match="floating point"):
        RandUniformNoise(0.1, prob=1.0)(torch.zeros(1, 4, 4, dtype=torch.uint8))


def test_the_square_comes_from_the_centre():
    image = torch.arange(5 * 9).reshape(1, 5, 9).float()
    assert torch.equal(CenterSquareCropd("image")({"image": image})["image"], image[:, :, 2:7])
    assert torch.equal(CenterSquareCropd("image")({"image": image.mT})["image"], image.mT[:, 2:7])
