"""``benchmarks/white_noise.py``: its counts against closed forms, its intervals, and the whole command."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path

import pytest
import torch
from bundle_runs import load
from monai.data import DataLoader, Dataset
from monai.engines import default_prepare_batch
from monai.inferers import SimpleInferer
from study_runs import refusal, table_rows
from torch import nn

import white_noise
from monai_ima.data import write_oct_phantom
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.networks import OCTNet

EPS = 0.05


@pytest.fixture
def study():
    yield white_noise
    logging.disable(logging.NOTSET)


def bundle_of(threshold, images, bounds=None, batch_size=4):
    """A linear network that says class 1 where an image's sum is above ``threshold``, on images of class 1."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(len(images[0]), 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0], [1.0]]).expand(2, len(images[0])))
        network[1].bias.copy_(torch.tensor([0.0, -threshold]))
    data = [
        {"image": torch.tensor(pixels).reshape(1, 1, -1), "label": 1, "sample_id": f"image-{k}"}
        for k, pixels in enumerate(images)
    ]
    return LoadedBundle(
        name="linear",
        network=network.double(),
        data_loader=DataLoader(Dataset(data), batch_size=batch_size),
        prepare_batch=lambda batch, device: tuple(
            part.double() if part.is_floating_point() else part for part in default_prepare_batch(batch, device)[:2]
        ),
        inferer=SimpleInferer(),
        device=torch.device("cpu"),
        bounds=bounds,
        criterion=None,
        classes=["0", "1"],
        checkpoint=Path("none"),
        synthetic=True,
        metadata={},
    )


def test_the_share_of_one_pixel_is_the_part_of_the_interval_beyond_the_boundary(study, tmp_path):
    """x is misclassified where the noise is below -m, m = x - threshold: with probability (ε - m) / 2ε."""
    distances, draws = [0.0, 0.02, 0.03, 0.049, 0.051, -0.01], 2000
    loaded = bundle_of(0.5, [[0.5 + m] for m in distances])
    counts = study.misclassified_draws(loaded, EPS, draws, 0, tmp_path / "records.jsonl")
    assert counts[-2:] == [0, None]
    for m, count in zip(distances[1:4], counts[1:4], strict=True):
        p = (EPS - m) / (2 * EPS)
        assert count / draws == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / draws))


@pytest.mark.parametrize("m", [0.01, 0.04, 0.08])
def test_the_share_of_two_pixels_is_that_of_a_sum_of_two_uniform_numbers(study, tmp_path, m):
    """The sum of the noise is below -m with probability (2ε - m)² / 8ε²: noise of the pixels is independent."""
    draws = 2000
    loaded = bundle_of(1.0, [[0.4 + m, 0.6]])
    (count,) = study.misclassified_draws(loaded, EPS, draws, 1, tmp_path / "records.jsonl")
    p = (2 * EPS - m) ** 2 / (8 * EPS**2)
    assert count / draws == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / draws))


def test_noisy_images_are_clipped_to_the_bounds(study, tmp_path):
    """Below the bounds lies nothing: where the boundary is there, no draw is misclassified."""
    images = [[0.01]]
    free, clipped = (
        study.misclassified_draws(bundle_of(-0.02, images, bounds), EPS, 200, 0, tmp_path / f"{bounds}.jsonl")
        for bounds in (None, (0.0, 1.0))
    )
    assert 10 < free[0] < 80
    assert clipped == [0]


def test_an_images_draws_depend_on_the_seed_and_not_on_its_batch(study, tmp_path):
    images = [[0.51 + 0.01 * k] for k in range(5)]
    found = [
        study.misclassified_draws(bundle_of(0.5, images, batch_size=size), EPS, 100, seed, tmp_path / f"{size}-{seed}")
        for size, seed in ((5, 0), (2, 0), (5, 1))
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_an_interrupted_count_is_resumed_to_the_same_counts(study, tmp_path):
    loaded = bundle_of(0.5, [[0.51 + 0.01 * k] for k in range(5)], batch_size=2)
    file = tmp_path / "records.jsonl"
    whole = study.misclassified_draws(loaded, EPS, 50, 0, file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:20])
    assert study.misclassified_draws(loaded, EPS, 50, 0, file) == whole
    assert file.read_text().splitlines(keepends=True) == lines


def test_the_interval_is_over_images_and_not_over_draws(study):
    """Half of 40 images always fail: the share's standard error is 0.5 / √40, not that of 4000 independent draws."""
    found = study.share_of_draws([100, 0] * 20, 100)
    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - 1.96 * 0.5 / 40**0.5, 0.5 + 1.96 * 0.5 / 40**0.5), abs=0.03)


def test_images_misclassified_without_noise_do_not_count(study):
    counts = [None, 0, 10, None, 0, 40]
    assert study.share_of_draws(counts, 100).value == pytest.approx(50 / 400)
    assert study.share_of_images(counts).value == pytest.approx(2 / 4)
    assert str(study.share_of_draws([None, None], 100)) == "no image is correct"
    assert str(study.share_of_images([0, 0])) == "0.00 %", "two images say nothing of others"
    assert str(study.share_of_images([0] * 24)) == "0.00 % (0.00 to 13.80)", "Wilson's interval"


def make_small(study, monkeypatch):
    monkeypatch.setattr(study, "NETWORK", {"network_def#channels": [4, 4, 8, 8], "network_def#blocks": [1, 1, 1, 1]})
    monkeypatch.setattr(study, "DATA", {"image_size": 48, "phantom_per_class": {"train": 20, "val": 1, "test": 3}})
    monkeypatch.setattr(study, "TRAINING", {**study.TRAINING, "batch_size": 8, "learning_rate": 0.02})


def weights_of(folder, name):
    (file,) = folder.glob(f"{name}/*/model*_last.pt")
    return file, load(file)["model"]


def test_without_data_and_weights_both_networks_are_trained_measured_and_resumed(study, monkeypatch, tmp_path):
    make_small(study, monkeypatch)
    out, pages = tmp_path / "out", tmp_path / "pages"
    command = ["--epochs", "2", "--draws", "6", "--eps", "0.5", "--out", str(out), "--pages", str(pages)]
    study.main(command)
    page = (pages / "white_noise.md").read_text()
    assert page.count("SYNTHETIC") == 1
    assert "python benchmarks/white_noise.py --epochs 2 --eps 0.5 --draws 6 --seed 0" in page
    records = {
        json.loads((file.parent / "settings.json").read_text())["weights_sha256"][:12]: [
            json.loads(line) for line in file.read_text().splitlines()
        ]
        for file in out.glob("noise/*/records.jsonl")
    }
    assert len(records) == 2
    assert any(sum(record["noise_failures"] or []) for found in records.values() for record in found)
    for title in study.TITLES.values():
        correct, draws, images = table_rows(page)[title]
        digest = re.search(rf"(\w{{12}}) \({title}\)", page).group(1)
        known = [record["noise_failures"] for record in records[digest] if record["label"] == record["predicted"]]
        assert correct == f"{len(known)} of 12"
        if known:
            assert draws.startswith(f"{100 * sum(counts[1] for counts in known) / (6 * len(known)):.2f} %")
            assert images.startswith(f"{100 * sum(counts[1] > 0 for counts in known) / len(known):.2f} %")

    states = {file: file.stat().st_mtime_ns for file in out.rglob("*.pt")}
    study.main(command)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.pt")} == states
    assert (pages / "white_noise.md").read_text() == page

    whole = {}
    for name in study.TITLES:
        last, whole[name] = weights_of(out, name)
        last.unlink()
        (second,) = last.parent.glob("*_checkpoint_epoch=2.pt")
        second.unlink()
    first = {file: file.stat().st_mtime_ns for file in out.rglob("*_checkpoint_epoch=1.pt")}
    study.main(command)
    assert len(first) == 2
    assert {file: file.stat().st_mtime_ns for file in first} == first
    for name, weights in whole.items():
        again = weights_of(out, name)[1]
        assert all(torch.equal(value, again[key]) for key, value in weights.items())
    assert (pages / "white_noise.md").read_text() == page


def test_given_weights_are_measured_on_given_images(study, tmp_path):
    write_oct_phantom(tmp_path / "data", {"train": 2, "val": 1, "test": 1}, 64)
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.pt")
        torch.save({"model": OCTNet().state_dict()}, files[-1])
    command = ["--data", str(tmp_path / "data"), "--plain", str(files[0]), "--ima", str(files[1]), "--draws", "2"]
    study.main([*command, "--out", str(tmp_path / "out"), "--pages", str(tmp_path)])
    page = (tmp_path / "white_noise.md").read_text()
    assert "SYNTHETIC" not in page
    assert "4 test images of 224 x 224 pixels. OCTNet with 11172292 parameters" in page
    assert "python benchmarks/white_noise.py --data DIR --plain a.pt --ima b.pt --eps 0.05 --draws 2 --seed 0" in page
    assert not (tmp_path / "out" / "plain").exists()


def test_bad_input_is_refused_in_one_sentence_before_anything_is_trained(study, tmp_path, capsys):
    there, other, text = tmp_path / "there.pt", tmp_path / "other.pt", tmp_path / "text.pt"
    write_oct_phantom(tmp_path / "data", {"train": 2, "val": 1, "test": 1}, 64)
    torch.save({"model": OCTNet().state_dict()}, there)
    torch.save({"model": OCTNet(channels=[4, 4, 4, 4]).state_dict()}, other)
    text.write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    data = ["--data", tmp_path / "data"]
    for arguments, words in [
        (["--eps", "0"], "argument --eps: got '0', expected a number > 0"),
        (["--eps", "-0.1"], "got '-0.1', expected a number > 0"),
        (["--eps", "nan"], "got 'nan', expected a number > 0"),
        (["--draws", "0"], "argument --draws: got '0', expected an integer >= 1"),
        (["--seed", "x"], "argument --seed"),
        (["--epochs", "0"], "argument --epochs: got '0', expected an integer >= 1"),
        (["--dta", "x"], "--dta"),
        (["--plain", there], "Got --plain alone, expected both --plain and --ima, or neither."),
        (["--plain", there, "--ima", tmp_path / "none.pt"], "none.pt of --ima does not exist, expected a checkpoint."),
        (["--plain", there, "--ima", there, "--epochs", "3"], "Got --epochs with weights"),
        (["--data", tmp_path / "none"], "none of --data does not exist, expected one with OCT images."),
        (["--data", tmp_path / "empty"], "empty"),
        ([*data, "--plain", text, "--ima", there], "text.pt is no checkpoint"),
        ([*data, "--plain", there, "--ima", other], "other.pt is of another network"),
    ]:
        places = ["--out", str(tmp_path / "out"), "--pages", str(tmp_path / "pages")]
        assert words in refusal(study.main, capsys, [*map(str, arguments), *places])
    assert not (tmp_path / "pages").exists()
    assert not list(tmp_path.glob("out/**/*.pt"))
