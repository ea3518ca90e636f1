"""What ε is worth in a pixel, against noise that is made and measured."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from report_results import classification, segmentation, write, write_margins
from torch import nn

from monai_ima.__main__ import main
from monai_ima.cli.evaluation_run import _sample_table, _scan_table
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation import evaluate
from monai_ima.margins import MarginTable, load_margins
from monai_ima.methods import IAAT, IMA
from monai_ima.results.parts import ImageValues, Units
from monai_ima.results.pixel_size import PixelSize, image_values
from monai_ima.results.schema import Results
from monai_ima.utils.batch import Batch

GREY = Units("grey levels", 255.0)


def rms(noise: torch.Tensor) -> float:
    return float(noise.double().square().mean().sqrt())


def test_noise_of_one_magnitude_and_l2_norm_eps_has_an_rms_of_eps_by_28_in_784_pixels():
    eps = 0.5
    noise = torch.where(torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.5, 1.0, -1.0) * eps / 28
    assert float(noise.norm()) == pytest.approx(eps)
    size = PixelSize("l2", GREY, image_values([784]))
    assert size.factor * eps == pytest.approx(255 * rms(noise)) == pytest.approx(255 * 0.5 / 28)
    assert size.text(eps) == "4.55 grey levels a pixel, RMS"
    assert (size.name, size.number(eps)) == ("RMS a pixel, grey levels", "4.55")


@pytest.mark.parametrize("shape", [(1, 7), (3, 8, 8), (2, 5, 6, 7)])
def test_the_rms_of_any_noise_is_that_of_its_norm(shape):
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)) ** 3
    units = Units("HU", 12.5)
    size = PixelSize("l2", units, image_values([noise.numel()]))
    assert size.factor * float(noise.norm()) == pytest.approx(rms(12.5 * noise), rel=1e-5)


@pytest.mark.parametrize(
    ("norm", "said"), [("linf", "at most 2 % of the range a value"), ("l2", "0.2 % of the range a value, RMS")]
)
def test_signals_have_values_and_no_grey_levels(norm, said):
    size = PixelSize(norm, values=image_values([100], dimensions=1), bounds=(0.0, 1.0))
    assert size.described(0.02) == said
    assert "pixel" not in size.name
    assert "pixel" not in PixelSize(norm, Units("mV", 5.0), image_values([100], dimensions=1)).text(0.02)
    image = PixelSize(norm, values=image_values([100], dimensions=2), bounds=(0.0, 1.0)).described(0.02)
    assert "a pixel" in image
    assert "of 255 grey levels" in image


def test_in_linf_eps_is_the_most_that_a_pixel_changes_whatever_the_images_size():
    noise = torch.tensor([0.01, -0.02, 0.015])
    eps = float(noise.abs().max())
    for values in (None, image_values([3]), image_values([3, 900])):
        size = PixelSize("linf", Units("HU", 400.0), values)
        assert size.factor * eps == pytest.approx(float((400 * noise).abs().max()))
        assert size.text(eps) == "at most 8 HU a pixel"
        assert PixelSize("linf", None, values).text(eps) == "", "ε itself says it"


def test_of_several_sizes_the_median_counts_and_the_text_says_about():
    values = image_values([100, 400, 400, 2500])
    assert values == ImageValues(fewest=100, median=400.0, most=2500)
    assert PixelSize("l2", Units("SD of the image", 1.0), values).text(2.0) == "about 0.1 SD of the image a pixel, RMS"


def test_without_norm_or_size_nothing_is_said():
    for size in (PixelSize.of("l2", None, GREY), PixelSize.of(None, 784, GREY), PixelSize("l2", GREY)):
        assert (size.factor, size.scale, size.text(1.0), size.number(1.0)) == (None, None, "", "")


def batches(*sides, channels=1):
    draw = torch.Generator().manual_seed(0)
    made = []
    for n, side in enumerate(sides):
        image = torch.rand(2, channels, side, side, generator=draw)
        ids = [f"{n}/{k}" for k in range(2)]
        made.append({"image": image, "label": torch.tensor([0, 1]), "sample_id": ids, "patient": ["a", f"b{n}"]})
    return made


class Brightness(nn.Module):
    def forward(self, image):
        mean = image[:, 0].flatten(1).mean(dim=1)
        return torch.stack([mean, 1 - mean], dim=1)


@pytest.mark.parametrize(("channels", "each"), [(None, 3), ([0, 2], 2)])
def test_an_evaluation_counts_the_values_of_the_attacked_channels(tmp_path, channels, each):
    loader = batches(8, 6, 10, channels=3)
    found = evaluate(Brightness(), loader, [0.5], "l2", "pgd2", cases=0, out=tmp_path, channels=channels)
    assert found.image_values == ImageValues(fewest=each * 36, median=float(each * 64), most=each * 100, dimensions=2)
    (tmp_path / "results.json").unlink()
    again = evaluate(Brightness(), loader, [0.5], "l2", "pgd2", cases=0, out=tmp_path, channels=channels)
    assert again.image_values == found.image_values, "of a resumed evaluation too"


def test_an_evaluation_of_scans_counts_their_values(tmp_path):
    image = torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "label": (image > 0).long(), "sample_id": ["a"]}
    network = nn.Conv3d(1, 2, 1)
    found = evaluate(network, [batch], [0.5], "l2", "pgd2", cases=0, out=tmp_path, criterion=DiceCriterion("lowest"))
    assert found.image_values == image_values([216], dimensions=3)


def test_results_of_older_versions_are_read_and_have_no_size(tmp_path):
    content = classification()
    del content["image_values"]
    for check in content["checks"]:
        del check["samples"]
    found = Results.read(write(tmp_path, content))
    assert found.image_values is None
    assert found.pixel_size.text(1.0) == ""
    assert [check.samples for check in found.checks or ()] == [None] * 3


def table(text: str) -> list[list[str]]:
    return [[cell for cell in line.split("  ") if cell] for line in text.splitlines()]


def test_the_printed_table_has_sizes_and_the_n_of_each_column(tmp_path):
    results = Results.read(write(tmp_path, classification()))
    rows = [[cell.strip() for cell in row] for row in table(_sample_table(results))]
    assert rows[0] == ["epsilon", "RMS a pixel, HU", "accuracy", "NORMAL", "CNV", "DME"]
    assert rows[1] == ["n", "10", "4", "3", "3"], "labels 0 to 9 by 3"
    assert rows[3] == ["0.5", "0.25", "0.700", "0.755", "0.667", "0.668"]
    assert len({len(line) for line in _sample_table(results).splitlines()}) == 1


def test_the_printed_table_of_scans_has_their_n(tmp_path):
    content = segmentation()
    results = Results.read(write(tmp_path, content))
    rows = [[cell.strip() for cell in row] for row in table(_scan_table(results, 1.0))]
    assert rows[0] == ["epsilon", "Dice", "surface Dice (1 mm)", "HD95 (mm)", "HD95 undefined"]
    assert rows[1] == ["n", *[str(content["data"]["samples"])] * 4]


def training_batch(side=4, channels=1):
    image = torch.rand(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 2))
    return network, Batch.of(network, image, network(image).argmax(1), [f"{side}/{k}" for k in range(3)])


def test_training_notes_norm_and_values_in_the_margin_table():
    network, batch = training_batch()
    method = IMA(eps_max=0.5, norm="l2", steps=2, margin_steps=2)
    method.begin_epoch(1, 10, [batch])
    assert (method.margins.norm, method.margins.image_values) == (None, None)
    method.loss(batch, network(batch.image), nn.functional.cross_entropy)
    assert (method.margins.norm, method.margins.image_values) == ("l2", 16)
    restored = MarginTable(0.5)
    restored.load_state_dict(method.margins.state_dict())
    assert (restored.norm, restored.image_values) == ("l2", 16)


def test_of_training_images_of_several_sizes_no_number_is_noted():
    method = IMA(eps_max=0.5, norm="l2", steps=2, update="online")
    for network, batch in (training_batch(4), training_batch(5)):
        method.begin_epoch(1, 10)
        method.loss(batch, network(batch.image), nn.functional.cross_entropy)
    assert (method.margins.norm, method.margins.image_values) == ("l2", None)
    restored = MarginTable(0.5)
    restored.load_state_dict(method.margins.state_dict())
    restored.note_attack("l2", 16)
    assert restored.image_values is None, "that of the checkpoint was another"


def test_only_attacked_channels_count_in_training():
    network, batch = training_batch(channels=3)
    method = IAAT(eps_max=0.5, norm="linf", steps=2, channels=[1])
    method.begin_epoch(1, 10)
    method.loss(batch, network(batch.image), nn.functional.cross_entropy)
    assert (method.margins.norm, method.margins.image_values) == ("linf", 16)


def test_margins_shows_sizes_beside_what_is_an_epsilon(tmp_path, capsys):
    file = write_margins(tmp_path / "model.pt", [1.0, 2.0, 4.0])
    assert main(["margins", "--checkpoint", str(file), "--out", str(tmp_path / "old")]) == 0
    assert "pixel" not in capsys.readouterr().out, "tables of older versions do not say what they are measured in"
    content = torch.load(file, weights_only=True)
    content["margins"] |= {"norm": "l2", "image_values": [784]}
    torch.save(content, file)
    assert load_margins(file).image_values == 784
    assert main(["margins", "--checkpoint", str(file), "--out", str(tmp_path / "new")]) == 0
    shown = dict(line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines()[:-1])
    assert shown["eps_max"] == f"4 ({4 / math.sqrt(784):.3g} a pixel, RMS)" == "4 (0.143 a pixel, RMS)"
    assert shown["quantile 0.5"] == "2 (0.0714 a pixel, RMS)"
    assert (shown["samples"], shown["share at delta"]) == ("3", "0.3333")
    rows = [(tmp_path / name / "summary.csv").read_text() for name in ("old", "new")]
    assert rows[0] == rows[1]
    assert next(csv.reader(rows[0].splitlines())) == ["quantity", "value"]


def test_the_state_of_margins_is_safe_to_load(tmp_path):
    table = MarginTable(1.0, 0.5)
    table.note_attack("linf", 9)
    torch.save(table.state_dict(), tmp_path / "t.pt")
    state = torch.load(tmp_path / "t.pt", weights_only=True)
    assert json.dumps([state["norm"], state["image_values"]]) == '["linf", [9]]'
