"""``monai-ima suggest``: the noise of images, and what scanner-like changes of them amount to."""

from __future__ import annotations

import csv
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPO
from last_words import only_sentence
from monai.bundle import ConfigParser
from monai.data import NibabelWriter
from PIL import Image
from scipy.stats import norm as normal
from wild_bundles import STYLES

from monai_ima.__main__ import main
from monai_ima.evaluation.own_noise import background_noise, own_noise
from monai_ima.evaluation.suggest import noise_size, suggest
from monai_ima.evaluation.suggest_files import draw_levels, write_suggestion
from monai_ima.perturbations import BiasField, CTDose, Gain
from monai_ima.results.parts import Units

SIGMA = 3.0


def phantom(shape: tuple[int, ...] = (96, 96), sigma: float = SIGMA, seed: int = 0) -> torch.Tensor:
    """A bright box (100) on 0, and Gaussian noise: ``[1, *shape]``."""
    image = torch.zeros(1, *shape)
    image[(0, *(slice(n // 3, 2 * n // 3) for n in shape))] = 100
    return image + sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def magnitude(sigma: float, shape: tuple[int, ...] = (48, 48, 48)) -> torch.Tensor:
    """The magnitude of the phantom with complex noise, as MR has it."""
    real, imaginary = phantom(shape, sigma, 1), sigma * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return torch.complex(real, imaginary.expand_as(real)).abs()


def by_title(found) -> dict:
    return {change.title: change for change in found.changes}


def test_known_gaussian_noise_is_found_in_the_background_and_by_wavelets():
    found = own_noise(phantom())
    assert found.kinds == ["gaussian"]
    assert found.background == [pytest.approx(SIGMA, rel=0.03)]
    assert found.wavelet == [pytest.approx(SIGMA, rel=0.06)]
    assert found.deviations == found.background


def test_the_rayleigh_background_of_a_magnitude_image_is_corrected_to_the_noise_of_its_two_parts():
    image = magnitude(4.0)
    low = image[image < 30]
    assert float(low.std()) == pytest.approx(4 * math.sqrt(2 - math.pi / 2), rel=0.05)  # what was measured without
    found = own_noise(image)
    assert found.kinds == ["rayleigh"]
    assert found.background == [pytest.approx(4.0, rel=0.02)]


def test_noise_and_budgets_follow_an_image_that_is_scaled_and_shifted():
    image = magnitude(4.0)
    first, second = suggest([("a", image)]), suggest([("a", 0.5 * image - 7)])
    assert second.noise[0].rayleigh == first.noise[0].rayleigh == 1
    for before, after in zip(first.changes, second.changes, strict=True):
        sizes = (after.l2, after.linf, after.rms)
        assert sizes == pytest.approx((0.5 * before.l2, 0.5 * before.linf, 0.5 * before.rms), rel=1e-3)


@pytest.mark.parametrize(
    "image",
    [
        torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)),
        phantom() * (phantom(sigma=0) > 0),
        phantom() + torch.linspace(-20, 20, 96),
        phantom((200,)),
        phantom((10, 10)),
        phantom((4, 40, 40)),
    ],
    ids=["nothing bright", "masked", "shaded", "signal", "small", "thin"],
)
def test_where_there_is_no_dark_and_even_background_wavelets_say_what_the_noise_is(image):
    found = own_noise(image)
    assert found.background == [None]
    assert found.deviations == found.wavelet


def test_a_background_of_few_voxels_or_one_value_tells_nothing():
    assert background_noise(np.zeros((20, 20))) is None
    assert background_noise(np.pad(np.ones((20, 20)), 2)) is None


def test_the_largest_of_gaussian_noise_is_that_of_the_normal_distribution():
    l2, linf, rms = noise_size([2.0], 5000)
    assert (l2, rms) == (pytest.approx(2 * math.sqrt(5000)), 2.0)
    assert linf == pytest.approx(2 * normal.ppf((1 + 0.5 ** (1 / 5000)) / 2), rel=1e-9)
    draws = 2 * torch.randn(400, 5000, generator=torch.Generator().manual_seed(0))
    assert linf == pytest.approx(float(draws.abs().amax(1).median()), rel=0.02)


def test_noise_of_two_channels_is_pooled():
    l2, linf, rms = noise_size([1.0, 3.0], 100)
    assert (l2, rms) == (pytest.approx(math.sqrt(1000)), pytest.approx(math.sqrt(5)))
    assert linf == pytest.approx(noise_size([3.0], 100)[1], rel=1e-6)
    assert noise_size([0.0], 100) == (0, 0, 0)


def test_half_the_dose_adds_the_images_own_noise_and_a_repeat_scan_differs_by_the_root_of_2_of_it():
    image = phantom()
    changes = by_title(suggest([("a", image)]))
    dose, repeat = changes["50 % dose"], changes["a repeat scan's noise"]
    assert dose.rms == own_noise(image).deviations[0] == pytest.approx(SIGMA, rel=0.03)
    added = CTDose(noise=dose.rms).apply(image[None], torch.full((1, 4, 4), 50.0)) - image
    assert float(added.std()) == pytest.approx(dose.rms, rel=0.03)
    again = phantom(seed=5) - image
    assert float(again.std()) == pytest.approx(repeat.rms, rel=0.03)
    assert float(torch.linalg.vector_norm(again)) == pytest.approx(repeat.l2, rel=0.03)
    assert float(again.abs().max()) == pytest.approx(repeat.linf, rel=0.15)


def test_a_constant_gain_of_5_per_cent_by_hand(monkeypatch):
    monkeypatch.setattr("monai_ima.evaluation.suggest.BiasField", Gain)
    image = torch.zeros(1, 8, 8)
    image[0, :4] = 200.0
    change = by_title(suggest([("a", image)]))["5 % bias field"]
    assert change.linf == pytest.approx(10)
    assert change.rms == pytest.approx(10 / math.sqrt(2))
    assert change.l2 == pytest.approx(10 * math.sqrt(32))


def test_bias_fields_are_random_ones_of_exactly_their_size():
    image, field = phantom(sigma=1.0), BiasField()
    change = by_title(suggest([("a", image)]))["10 % bias field"]
    fitted, generator, drawn = field.fit(image[None]), torch.Generator().manual_seed(9), []
    for _ in range(40):
        theta = field.norm.draw_of_length(fitted.zero(), torch.tensor([10.0]), generator)
        drawn.append(float((fitted.apply(theta) - image).square().mean().sqrt()))
    assert np.quantile(drawn, 0.1) < change.rms < np.quantile(drawn, 0.9)
    assert change.linf <= 0.1 * float(image.max() - image.min()) * (1 + 1e-6)


def test_eps_max_and_levels_follow_the_rule():
    quiet, loud = suggest([("a", phantom(sigma=0.02))]), suggest([("a", phantom(sigma=20.0))])
    for found, title in ((quiet, "5 % bias field"), (loud, "a repeat scan's noise")):
        largest = by_title(found)[title]
        assert found.eps_max == {"l2": float(f"{largest.l2:.2g}"), "linf": float(f"{largest.rms:.2g}")}
        for norm, of in (("l2", "l2"), ("linf", "rms")):
            sizes = sorted(float(f"{getattr(change, of):.2g}") for change in found.changes)
            assert found.levels[norm] == [0, *(size for size in dict.fromkeys(sizes) if size <= found.eps_max[norm])]
            assert found.levels[norm][-1] == found.eps_max[norm]


def test_medians_are_over_images_and_no_more_than_the_limit():
    scans = [(str(k), phantom(sigma=sigma, seed=k)) for k, sigma in enumerate((1.0, 2.0, 9.0, 50.0))]
    found = suggest(iter(scans), limit=3)
    assert found.images == 3
    assert found.noise[0].background[1] == own_noise(scans[1][1]).background[0]
    assert by_title(found)["50 % dose"].rms == pytest.approx(2.0, rel=0.03)


def test_channels_that_are_left_out_do_not_count():
    image = torch.cat([phantom(), torch.full((1, 96, 96), math.nan)])
    found = suggest([("a", image)], channels=[0])
    assert found.values.median == 96 * 96
    assert found.as_json()["changes"] == suggest([("a", image[:1])]).as_json()["changes"]


IMAGE = phantom((16, 16))


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        ([], {}, "Got no images"),
        ([("scan 7", IMAGE * math.nan)], {}, "Image 'scan 7' holds NaN or infinity"),
        ([("scan 7", torch.full((1, 8, 8), 3.0))], {}, "Image 'scan 7' is constant"),
        ([("scan 7", None)], {}, "Image 'scan 7' is None"),
        ([("scan 7", torch.zeros(1, 0))], {}, "Image 'scan 7' is"),
        ([("a", IMAGE), ("b", IMAGE.expand(2, 16, 16))], {}, "Image 'b' has 2 channel(s), expected 1"),
        ([("a", IMAGE)], {"limit": 0}, "limit 0"),
        ([("a", IMAGE)], {"seed": -1}, "seed -1"),
        ([("a", IMAGE)], {"channels": [3]}, "channels"),
    ],
)
def test_bad_images_and_arguments_are_refused_in_one_sentence(samples, options, expected):
    with pytest.raises(ValueError, match=r"expected") as caught:
        suggest(samples, **options)
    assert expected in str(caught.value)


def test_noise_is_estimated_of_floating_point_images_only():
    for image in (None, torch.zeros(5), torch.zeros(1, 8, 8, dtype=torch.int)):
        with pytest.raises(ValueError, match="expected a floating point tensor"):
            own_noise(image)


def test_files_hold_the_numbers_in_units_of_the_image_files(tmp_path):
    found = suggest([("a", phantom())], Units("HU", 400.0))
    write_suggestion(tmp_path, found, "a", phantom())
    stored = json.loads((tmp_path / "suggest.json").read_text())
    assert stored["eps_max"] == found.eps_max
    assert stored["units"] == {"name": "HU", "per_unit": 400.0}
    rows = list(csv.DictReader((tmp_path / "suggest.csv").read_text().splitlines()))
    assert [float(row["rms_in_files"]) for row in rows] == [400 * change.rms for change in found.changes]
    assert {row["unit_of_files"] for row in rows} == {"HU"}
    with pytest.raises(FileExistsError):
        write_suggestion(tmp_path, found, "a", phantom())


@pytest.mark.parametrize("shape", [(64,), (32, 32), (12, 12, 12)])
def test_pictures_are_of_the_l2_size_that_they_say(shape, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "monai_ima.evaluation.suggest_files.level_pictures", lambda *given: drawn.update(levels=given[1])
    )
    image = phantom(shape)
    found = suggest([("a", image)])
    draw_levels(found, "a", image)
    for level, change in zip(drawn["levels"], found.changes, strict=True):
        lengths = [float(torch.linalg.vector_norm(changed - image)) for changed in level.changed.values()]
        assert lengths == [pytest.approx(change.l2, rel=0.2), pytest.approx(change.l2, rel=1e-3)]


def save_scans(folder: Path, count: int = 3, scale: float = 1.0) -> None:
    folder.mkdir()
    for k in range(count):
        writer = NibabelWriter()
        writer.set_data_array(scale * phantom((24, 24, 24), seed=k)[0], channel_dim=None)
        writer.set_metadata({"affine": np.eye(4)})
        writer.write(folder / f"scan{k}.nii.gz")


def run(*arguments: object) -> int:
    return main(["suggest", *map(str, arguments)])


def test_images_alone_are_enough_and_the_commands_repeat_the_options(tmp_path, capsys):
    save_scans(tmp_path / "my scans")
    given = ("--images", tmp_path / "my scans", "--scale=-50:200", "--out", tmp_path / "out")
    assert run(*given) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["levels.png", "suggest.csv", "suggest.json"]
    assert Image.open(tmp_path / "out" / "levels.png").width > 300
    stored = json.loads((tmp_path / "out" / "suggest.json").read_text())
    assert stored["images"] == 3
    assert stored["noise"][0]["background"][1] == pytest.approx(SIGMA / 250, rel=0.05)
    assert "intensity units" in out
    assert "of the background of 3 of 3; Gaussian: used for these" in out
    line = next(line for line in out.splitlines() if line.startswith("monai-ima evaluate"))
    assert f"--images={tmp_path / 'my scans'}" in shlex.split(line)
    assert "--scale=-50:200" in line
    eps_max = stored["eps_max"]["l2"]
    assert f"monai-ima harden --bundle BUNDLE --norm l2 --eps_max {eps_max:g} --max_clean_loss 0.01" in out
    assert "--perturbation bias_field --eps_max 10" in out
    assert run(*given) == 2
    assert "is not empty, expected a new one: give another --out" in capsys.readouterr().err


def test_a_bundle_needs_neither_weights_nor_labels(tmp_path, capsys):
    STYLES["zoo_segmentation"](tmp_path / "zoo")
    for file in (tmp_path / "zoo" / "data").glob("image*"):
        assert np.load(file).std() > 0
    assert not (tmp_path / "zoo" / "models").exists()
    assert run("--bundle", tmp_path / "zoo", "--limit", 1, "--dataset_dir", tmp_path / "zoo" / "data") == 0
    out = capsys.readouterr().out
    assert "Noise that 1 image has itself" in out
    assert "RMS, HU" in out
    assert f"--dataset_dir={tmp_path / 'zoo' / 'data'}" in out
    dose = next(line for line in out.splitlines() if line.strip().startswith("50 % dose"))
    assert float(dose.split()[-1]) == pytest.approx(20, rel=0.15)  # HU, as the volumes were made


def command_lines(out: str) -> list[str]:
    return out.split("Commands:\n")[1].splitlines()


def test_lines_for_a_bundle_that_can_be_hardened_name_its_data_where_they_train(tmp_path, capsys):
    STYLES["zoo_segmentation"](tmp_path / "zoo")
    data = tmp_path / "zoo" / "data"
    assert run("--bundle", tmp_path / "zoo", "--limit", 1, "--dataset_dir", data) == 0
    harden = [shlex.split(line)[1:] for line in command_lines(capsys.readouterr().out) if " harden " in line]
    assert [f"--dataset_dir={data}" in words for words in harden] == [True, True, False]
    for words in harden:
        without_search = words[: words.index("--max_clean_loss")] if "--max_clean_loss" in words else words
        assert main([*without_search, "--dry_run"]) == 0, words


def test_lines_for_a_bundle_that_is_hardened_train_it_with_what_is_suggested(capsys):
    bundle = REPO / "bundles" / "image_classification_ima"
    assert run("--bundle", bundle, "--limit", 2) == 0
    lines = command_lines(capsys.readouterr().out)
    assert not any(" harden " in line for line in lines)
    for line, norm in zip(lines[-2:], ("l2", "linf"), strict=True):
        words = shlex.split(line)
        assert words[:4] == ["python", "-m", "monai.bundle", "run"]
        given = dict(zip(words[4::2], words[5::2], strict=True))
        parser = ConfigParser(ConfigParser.load_config_file(given["--config_file"]))
        for name in ("norm", "eps_max"):
            assert name in parser.config
            parser[name] = given[f"--{name}"] if name == "norm" else float(given[f"--{name}"])
        handler = next(one for one in parser["train#handlers"] if one["_target_"].endswith("IMAHandler"))
        assert (handler["norm"], handler["eps_max"]) == ("@norm", "@eps_max")
        assert given["--norm"] == norm
        assert float(given["--eps_max"]) > 0


@pytest.mark.parametrize("config", ["train.json", "mine.json"])
def test_a_bundle_that_nothing_hardens_has_a_remark_in_place_of_the_lines(tmp_path, capsys, config):
    STYLES["zoo_segmentation"](tmp_path / "zoo")
    (file,) = (tmp_path / "zoo" / "configs").glob("train.*")
    content = ConfigParser.load_config_file(file)
    content["train"]["trainer"]["d_network"] = "@network"
    file.unlink()
    file.with_name(config).write_text(json.dumps(content), encoding="utf-8")
    data = tmp_path / "zoo" / "data"
    assert run("--bundle", tmp_path / "zoo", "--config", config, "--limit", 1, "--dataset_dir", data) == 0
    last = command_lines(capsys.readouterr().out)[-1]
    assert last.startswith("# Nothing hardens it: ")
    assert ("trains a GAN" if config == "train.json" else "holds no train.json") in last


def damaged(folder: Path, content: str) -> None:
    save_scans(folder, 1)
    scan = np.full((8, 8, 8), {"constant": 3.0, "nan": math.nan}.get(content, 0.0))
    writer = NibabelWriter()
    writer.set_data_array(scan, channel_dim=None)
    writer.set_metadata({"affine": np.eye(4)})
    writer.write(folder / "bad.nii.gz")
    if content == "cut":
        (folder / "bad.nii.gz").write_bytes((folder / "scan0.nii.gz").read_bytes()[:3000])


@pytest.mark.parametrize("content", ["constant", "nan", "cut"])
def test_a_bad_image_is_named(tmp_path, capsys, content):
    damaged(tmp_path / "scans", content)
    assert run("--images", tmp_path / "scans", "--out", tmp_path / "out") == 2
    sentence = only_sentence(capsys.readouterr().err)
    assert "bad.nii.gz" in sentence
    assert "expected" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Option --bundle is missing, expected a value for it, or --images"),
        (["--images", "empty"], "holds no image files"),
        (["--images", "nowhere"], "does not exist"),
        (["--bundle", "nowhere"], "nowhere does not exist"),
        (["--images", "empty", "--bundle", "x"], "exclude each other"),
        (["--images", "empty", "--limit", "0"], "limit 0"),
        (["--images", "empty", "--limits", "3"], "expected --limit"),
        (["--images", "empty", "--scale", "big"], "scale 'big'"),
        (["--images", "empty", "--seed", "x"], "seed"),
        (["--images", "empty", "--network", "UNet", "--model", "m.pt", "--images", "nowhere"], "does not exist"),
    ],
)
def test_bad_use_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, expected):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    sentence = only_sentence(capsys.readouterr().err)
    assert expected in sentence
