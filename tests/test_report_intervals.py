"""The report claims no interval and no attack that the results lack; scanners' noise has the models' own colours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_results import classification, perturbed, segmentation, write

from monai_ima.report import build_report, html_page, markdown
from monai_ima.report.charts import Chart, LineChart, draw
from monai_ima.results.schema import Results

SVG = "{http://www.w3.org/2000/svg}"
CHANGES = [("speckle", "%", 20.0)]


def without_intervals(content: dict[str, Any]) -> dict[str, Any]:
    """The same with too few patients for any."""
    levels = len(content["levels"])
    for attack in content["attacks"]:
        attack["intervals"] = [None] * levels
    if content["groups"]:
        content["groups"]["intervals"] = dict.fromkeys(content["groups"]["samples"], [None] * levels)
    return content


def with_torchio(worst: float) -> dict[str, Any]:
    """A result under one change in three cases, all with intervals."""
    (one,) = perturbed(CHANGES, worst)
    one["torchio"] = {"values": [0.9, 0.8], "intervals": [None, None]}
    for case in ("worst", "average", "torchio"):
        one[case]["intervals"] = [[0.4, 1.0], [0.3, 0.95]]
    one["degradation"]["torchio"] = 0.1
    return one


def read(folder: Path, *contents: dict[str, Any]) -> list[Results]:
    """These results, called A, B and so on."""
    folders = [folder / str(k) for k in range(len(contents))]
    for one, content in zip(folders, contents, strict=True):
        write(one, content)
    return [Results.read(one).named(name) for one, name in zip(folders, "ABCDEFGH", strict=False)]


def texts(models: list[Results]) -> list[str]:
    """The report as page and Markdown, with plain spaces."""
    built = build_report(models, submission=True)
    return [" ".join(text.split()) for text in (html_page(built), markdown(built))]


def section(models: list[Results], name: str) -> list[Any]:
    """The blocks of a section."""
    (found,) = [one for one in build_report(models).sections if one.id == name]
    return list(found.blocks)


def test_without_intervals_none_are_claimed(tmp_path):
    scans = [without_intervals(segmentation(perturbations=perturbed(CHANGES, worst))) for worst in (0.5, 0.7)]
    images = [without_intervals(classification(perturbations=perturbed(CHANGES, worst))) for worst in (0.5, 0.7)]
    for name, contents in (("scans", scans), ("images", images), ("one", images[:1])):
        for text in texts(read(tmp_path / name, *contents)):
            assert "95 %" not in text
            assert "Bands" not in text
            assert "wide intervals" not in text
            assert "than the intervals say" not in text


def test_with_intervals_they_are_named(tmp_path):
    models = read(tmp_path, *(classification(perturbations=[with_torchio(worst)]) for worst in (0.5, 0.7)))
    for text in texts(models):
        for said in (
            "Accuracy under all attacks of each model, with 95 % intervals",
            "its model was measured at. Bands are 95 % intervals.",
            "Bands, of the worst case, and brackets are 95 % intervals.",
            "Accuracy under perturbations, with 95 % intervals",
            "Accuracy by scanner under all attacks, with 95 % intervals",
            "Small subgroups have wide intervals",
        ):
            assert said in text


def only_clean(content: dict[str, Any]) -> dict[str, Any]:
    """The same measured at ε = 0 alone."""
    content |= {"levels": [0.0], "minimum": None, "crosscheck": None, "cases": [], "checks": None, "noise": None}
    for attack in content["attacks"]:
        attack |= {"values": attack["values"][:1], "intervals": attack["intervals"][:1]}
    for name in ("accuracy", "dice", "surface_dice", "hd95", "hd95_undefined"):
        if name in content:
            content[name] = content[name][:1]
    for name in ("accuracy_by_class", "dice_by_class", "surface_dice_by_class", "hd95_by_class"):
        if name in content:
            content[name] = {key: curve[:1] for key, curve in content[name].items()}
    if content["groups"]:
        groups = content["groups"]
        groups["largest_gap"] = None
        for name in ("values", "intervals"):
            groups[name] = {key: curve[:1] for key, curve in groups[name].items()}
    for sample in content["samples"]:
        if "scores" in sample:
            sample |= {"scores": sample["scores"][:1], "after": {"pgd100x2": [0.8]}}
        else:
            sample["broken_at"] = {name: eps if eps == 0 else None for name, eps in sample["broken_at"].items()}
    return content


@pytest.mark.parametrize("make", [classification, segmentation])
def test_where_nothing_was_attacked_nothing_is_said_to_be(tmp_path, make):
    for count in (1, 2):
        for text in texts(read(tmp_path / str(count), *[only_clean(make()) for _ in range(count)])):
            assert "were measured without an attack: no ε above 0 was." in text
            assert "were attacked in" not in text
            assert "under all attacks" not in text
            assert "under the strongest attack" not in text
            assert "at which any of the attacks breaks" not in text
            assert "up to ε = 0" not in text.replace("\u00a0", " ")


def svg(chart: Chart) -> ElementTree.Element:
    """The drawn chart."""
    return ElementTree.fromstring(draw(chart, "c").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def curves(chart: LineChart) -> list[tuple[str, bool]]:
    """Series, and whether dashed, of each line in the order of drawing; those of the legend left out."""
    styles = [path.get("style", "") for path in svg(chart).iter(f"{SVG}path")]
    lines = [style for style in styles if style.startswith("fill: none; stroke") and "series-" in style]
    found = [(re.findall(r"series-(\d)", style)[0], "dasharray" in style) for style in lines]
    assert found[: len(chart.lines)] == found[len(chart.lines) :], "the legend shows the same"
    return found[: len(chart.lines)]


def test_noise_of_scanners_has_a_colour_a_model_and_dashes_by_case(tmp_path):
    plain = classification(perturbations=perturbed(CHANGES, 0.5))
    contents = [classification(), plain, classification(perturbations=[with_torchio(0.7)])]
    blocks = section(read(tmp_path, *contents), "perturbations")
    (chart,) = [chart for block in blocks for chart in getattr(block, "charts", ())]
    assert [line.name for line in chart.lines] == [
        *("B, worst case", "B, average case"),
        *("C, worst case", "C, average case", "C, TorchIO"),
    ]
    assert curves(chart) == [("2", False), ("2", True), ("3", False), ("3", True), ("3", True)]
    bands = [one.get("style") for one in svg(chart).iter(f"{SVG}use") if "fill-opacity: 0.16" in one.get("style", "")]
    assert len(bands) == 1, "of C's worst case only: B has no intervals"
    assert "series-3" in bands[0]
    said = " ".join(getattr(block, "text", "") for block in blocks)
    assert "Solid lines are the worst case, dashed ones the average case, dotted ones TorchIO." in said


def test_the_dashes_of_average_and_torchio_differ_and_their_markers_are_hollow(tmp_path):
    (model,) = read(tmp_path, classification(perturbations=[with_torchio(0.7)]))
    (chart,) = [one for block in section([model], "perturbations") for one in getattr(block, "charts", ())]
    drawn = svg(chart)
    dashes = {
        found[0]
        for path in drawn.iter(f"{SVG}path")
        if (found := re.findall(r"stroke-dasharray: ([\d., ]+)", path.get("style", "")))
        and "series" in path.get("style")
    }
    assert len(dashes) == 2
    markers = [one.get("style") for one in drawn.iter(f"{SVG}use") if "stroke: var(--series-1)" in one.get("style", "")]
    assert [style.startswith("fill: var(--series-1)") for style in markers] == [True] * 2 + [False] * 4 + [
        True,
        False,
        False,
    ]


def test_a_long_name_keeps_its_case_in_the_legend(tmp_path):
    long = "oct_classification_ima, models/with_a_very_long_name.pt"
    contents = [classification(perturbations=perturbed(CHANGES, worst)) for worst in (0.5, 0.7)]
    one, other = read(tmp_path, *contents)
    blocks = section([one.named(long), other], "perturbations")
    (chart,) = [chart for block in blocks for chart in getattr(block, "charts", ())]
    shown = [text.text or "" for text in svg(chart).iter(f"{SVG}text")]
    assert sum(text.startswith("oct_classification_ima") and text.endswith(", worst case") for text in shown) == 1
    assert sum(text.startswith("oct_classification_ima") and text.endswith(", average case") for text in shown) == 1


def test_a_sample_that_no_change_broke_is_said_not_to_be(tmp_path):
    captions = []
    for worst in (0.0, 1.0):
        (one,) = perturbed(CHANGES, 0.5)
        case = {"sample_id": "s1", "epsilon": 20.0, "summary": "", "picture": "cases/00.png"}
        sample = {"sample_id": "s1", "patient": None, "worst": [1.0, worst], "average": [1.0, 1.0]}
        models = read(tmp_path / str(worst), classification(perturbations=[one | {"case": case, "samples": [sample]}]))
        pictures = [picture for block in section(models, "perturbations") for picture in getattr(block, "pictures", ())]
        captions += [picture.caption for picture in pictures]
    assert captions == ["speckle, 20 %", "speckle, not broken up to 20 %"]
