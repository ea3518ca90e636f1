from __future__ import annotations

import copy
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from report_results import LEVELS, classification, samples, segmentation, write, write_margins
from torch.utils.tensorboard import SummaryWriter

from monai_ima.__main__ import main
from monai_ima.cli.report import report
from monai_ima.report.wording import attack_words

SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """The tables (by caption), pictures and headings of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
        if tag in ("caption", "th", "td"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("caption", "th", "td"):
            self._open.pop()
        elif tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if self._open and self._open[-1] == "caption":
            self._caption += data
        elif self._open:
            self._rows[-1][-1] += data.replace("\u00a0", " ")

    @property
    def words(self) -> str:
        """Everything that can be read, on one line."""
        body = re.sub(r"<style.*?</style>|<svg.*?</svg>", "", self.text, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", "", body)).replace("\u00a0", " ").split())

    def chart(self, title: str) -> ElementTree.Element:
        """The only chart of this title."""
        found = [svg for svg in re.findall(r"<svg.*?</svg>", self.text, re.DOTALL) if f"<title>{title}</title>" in svg]
        assert len(found) == 1
        return ElementTree.fromstring(found[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def html(folder: Path, *contents: dict, **options) -> Page:
    """The page on these results."""
    folders = [folder / f"model{k}" for k in range(len(contents))]
    for one, content in zip(folders, contents, strict=True):
        write(one, content)
    report(list(map(str, folders)), out=str(folder / "page.html"), **options)
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def written(folder: Path, content: dict, format: str, **options) -> str:
    """The report on these results in Markdown or JSON."""
    write(folder, content)
    report(str(folder), format=format, **options)
    return (folder / f"report.{format}").read_text(encoding="utf-8")


def markers(chart: ElementTree.Element, series: int, count: int) -> list[tuple[float, float]]:
    """Positions of the first ``count`` markers of a line (the legend's comes after them)."""
    style = f"fill: var(--series-{series}); stroke: var(--series-{series})"
    uses = [use for use in chart.iter(f"{SVG}use") if style in use.get("style", "")]
    assert len(uses) in (count, count + 1)
    return [(float(use.get("x")), float(use.get("y"))) for use in uses[:count]]


def texts(chart: ElementTree.Element) -> list[str | None]:
    """All that is written in a chart."""
    return [text.text for text in chart.iter(f"{SVG}text")]


def filled(chart: ElementTree.Element, style: str) -> list[list[tuple[float, float]]]:
    """Corners of the paths whose style begins so."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d"))]
        for path in chart.iter(f"{SVG}path")
        if path.get("style", "").startswith(style)
    ]


def heights(chart: ElementTree.Element) -> list[float]:
    """Of the bars."""
    ends = [[y for _, y in bar] for bar in filled(chart, "fill: var(--series-1)")]
    return [max(bar) - min(bar) for bar in ends]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Page:
    """The page on one classifier with everything measured."""
    return html(tmp_path_factory.mktemp("full"), classification())


class TestCurves:
    def test_the_table_has_every_level_with_its_size_in_a_pixel_and_intervals(self, full):
        tables = full.tables
        assert tables["Accuracy under attack, with 95 % intervals: the numbers"] == [
            [
                "ε",
                "RMS a pixel, HU",
                "projected gradient descent, 100 steps, 2 restarts",
                "Auto-PGD, 100 steps, on difference of logits ratio",
            ],
            ["0", "0", "0.900 [0.700, 1.000]", "0.900 [0.700, 1.000]"],
            ["0.5", "0.25", "0.800 [0.550, 0.980]", "0.700 [0.410, 0.960]"],
            ["1", "0.5", "0.600 [0.310, 0.870]", "0.400 [0.120, 0.710]"],
            ["2", "1", "0.300 [0.100, 0.600]", "0.200 [0.020, 0.520]"],
        ]

    def test_markers_stand_where_the_numbers_say(self, full):
        chart = full.chart("Accuracy under attack, with 95 % intervals")
        first, last = markers(chart, 1, 4), markers(chart, 2, 4)
        (left, top), (right, _), (_, bottom) = first[0], first[3], last[3]
        for points, values in ((first, [0.9, 0.8, 0.6, 0.3]), (last, [0.9, 0.7, 0.4, 0.2])):
            for (x, y), level, value in zip(points, LEVELS, values, strict=True):
                assert (x - left) / (right - left) == pytest.approx(level / 2, abs=1e-3)
                assert (y - top) / (bottom - top) == pytest.approx((0.9 - value) / 0.7, abs=1e-3)

    def test_bands_reach_from_end_to_end_of_the_intervals(self, full):
        chart = full.chart("Accuracy under attack, with 95 % intervals")
        (_, y9), *_, (_, y3) = markers(chart, 1, 4)
        scale = (y3 - y9) / 0.6
        bands = [use for use in chart.iter(f"{SVG}use") if "fill-opacity: 0.16" in use.get("style")]
        assert len(bands) == 2
        (corners,) = [
            path.get("d")
            for path in chart.iter(f"{SVG}path")
            if path.get("id") == bands[0].get("href").removeprefix("#")
        ]
        ends = [float(y) + float(bands[0].get("y")) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", corners)]
        assert min(ends) == pytest.approx(y9 - 0.1 * scale, abs=0.05)  # 1.0
        assert max(ends) == pytest.approx(y3 + 0.2 * scale, abs=0.05)  # 0.1

    def test_attacks_are_said_to_be_cumulative_and_explained(self, full):
        assert "Attacks are cumulative: a sample counts as correct only if it is robust to the named" in full.words
        rows = full.tables["Names as options, CSV files and results.json have them"]
        assert rows[1] == ["pgd100x2", "projected gradient descent, 100 steps, 2 restarts"]

    def test_only_the_strongest_attack_is_open_and_all_are_folded(self, full):
        chart = full.chart("Accuracy under the strongest attack, with 95 % intervals")
        points, low = markers(chart, 1, 4), [0.9, 0.7, 0.4, 0.2]
        scale = (points[3][1] - points[0][1]) / 0.7
        assert [0.9 - (y - points[0][1]) / scale for _, y in points] == pytest.approx(low, abs=1e-3)
        folded = full.text.index("<summary>All 2 attacks one after the other")
        everything = full.text.index("<title>Accuracy under attack, with 95 % intervals</title>")
        assert folded < everything < full.text.index("</details>", folded)

    def test_a_chart_says_its_numbers_in_words(self, full):
        chart = full.chart("Accuracy by class under all attacks")
        assert chart.get("role") == "img"
        assert "NORMAL (n = 4): 0.75 at 0, 0.755 at 0.5, 0.505 at 1, 0.255 at 2." in chart.get("aria-label")

    def test_a_class_without_a_value_leaves_a_gap(self, full):
        assert len(markers(full.chart("Accuracy by class under all attacks"), 3, 3)) == 3
        rows = full.tables["Accuracy by class under all attacks: the numbers"]
        assert rows[4] == ["2", "1", "0.255", "0.000", "–"]

    def test_ten_classes_make_two_charts_with_six_and_four_lines(self, tmp_path):
        classes = {f"class {k}": [k / 10] * 4 for k in range(10)}
        page = html(tmp_path, classification(accuracy_by_class=classes))
        labels = [
            [text.text for text in page.chart(f"Accuracy by class under all attacks ({k} of 2)").iter(f"{SVG}text")]
            for k in (1, 2)
        ]
        assert [sum("class" in label for label in some) for some in labels] == [6, 4]

    def test_without_units_only_the_networks_are_shown(self, tmp_path):
        page = html(tmp_path, segmentation())
        rows = page.tables["Dice under the strongest attack, with 95 % intervals: the numbers"]
        assert rows[:2] == [["ε", "all attacks"], ["0", "0.842 [0.800, 0.880]"]]
        assert "HU" not in page.words

    def test_without_the_number_of_values_no_size_in_l2_is_made_up(self, tmp_path):
        content = classification(units={"name": "grey levels", "per_unit": 255.0})
        del content["image_values"]
        page = html(tmp_path, content)
        assert page.tables["Accuracy under attack, with 95 % intervals: the numbers"][3][:2] == [
            "1",
            "0.600 [0.310, 0.870]",
        ]
        assert "grey levels" not in page.text

    def test_in_linf_the_size_is_the_most_that_a_pixel_changes(self, tmp_path):
        page = html(tmp_path / "hu", classification(norm="linf"))
        rows = page.tables["Accuracy under attack, with 95 % intervals: the numbers"]
        assert [row[:2] for row in rows[:3]] == [["ε", "at most in a pixel, HU"], ["0", "0"], ["0.5", "10"]]
        assert "at ε = 1 (at most 20 HU a pixel), oct_classification_ima" in page.words
        page = html(tmp_path / "none", classification(norm="linf", units=None))
        labels = [text.text for text in page.chart("Accuracy by class under all attacks").iter(f"{SVG}text")]
        assert "perturbation ε (L∞: the most a pixel changes)" in labels

    def test_of_images_of_several_sizes_the_median_counts_and_is_said_to(self, tmp_path):
        page = html(tmp_path, classification(image_values={"fewest": 100, "median": 400.0, "most": 1600}))
        assert "Under the strongest attack at ε = 1 (about 1 HU a pixel, RMS), oct_classification_ima" in page.words
        facts = dict(page.tables["What was measured, on what, by what"][1:])
        assert facts["values that noise may change"] == "100 to 1,600 a sample; sizes are of the median, 400"

    def test_a_second_scale_shows_the_size_in_a_pixel(self, full):
        texts = [text.text for text in full.chart("Accuracy under attack, with 95 % intervals").iter(f"{SVG}text")]
        assert "RMS a pixel, HU" in texts
        assert texts[texts.index("RMS a pixel, HU") - 1] == "1.0", "the last tick above, of ε = 2"

    def test_segmentations_have_surface_dice_and_hd95(self, tmp_path):
        tables = html(tmp_path, segmentation()).tables
        (caption, _, last) = [name for name in tables if name.startswith("Surface Dice")]
        assert last.endswith("posterior (n = 0)"), "no scan's label holds it"
        assert any(name.endswith("anterior (n = 2)") for name in tables)
        assert tables[last][2] == ["5", "0.802", "3.51"]
        assert tables[caption] == [
            ["ε", "surface Dice", "HD95 (mm)"],
            ["0", "0.951", "1.25"],
            ["5", "0.812", "3.46"],
            ["10", "–", "–"],
        ]


class TestHeader:
    def test_a_sentence_names_the_data_and_the_attacks(self, full):
        assert (
            "10 SYNTHETIC samples of 5 patients (OCT phantom) were attacked in the L2 norm up to ε = 2 (1 HU a pixel, "
            "RMS) by: projected gradient descent, 100 steps, 2 restarts; Auto-PGD, 100 steps, on difference of logits "
            "ratio."
        ) in full.words

    def test_synthetic_data_is_called_so_and_real_data_is_not(self, tmp_path):
        synthetic = html(tmp_path / "one", classification()).words
        assert "SYNTHETIC data drawn by a program: the figures say nothing about patients." in synthetic
        assert "SYNTHETIC" not in html(tmp_path / "two", segmentation()).words

    def test_provenance_is_complete(self, full):
        facts = dict(full.tables["What was measured, on what, by what"][1:])
        assert facts["network"] == "DenseNet121, 6,956,931 parameters"
        assert facts["data"] == "SYNTHETIC: OCT phantom"
        assert facts["licence of the data"] == "Apache-2.0"
        assert facts["samples"] == "10"
        assert facts["seed"] == "7"
        assert facts["machine"] == "x86_64 CPU, 2 cores"
        assert facts["versions"] == "monai-ima 0.1.0, torch 2.13.0"
        assert facts["RMS a pixel, HU"] == "0, 0.25, 0.5, 1"
        assert facts["values that noise may change"] == "1,600 a sample"
        assert "python -m monai_ima evaluate --bundle bundles/oct --levels 0,0.5,1,2 --norm l2" in full.words


class TestSamples:
    def test_distances_are_binned_and_the_median_marked(self, full):
        chart = full.chart("Smallest perturbation found, by sample")
        left = [min(x for x, _ in bar) for bar in filled(chart, "fill: var(--series-1)")]
        width = (left[-1] - left[0]) / 19
        filled_bins = {round((x - left[0]) / width) for x, bar in zip(left, heights(chart), strict=True) if bar > 0}
        assert len(left) == 20
        assert filled_bins == {2, 4, 6, 8, 10, 12, 16}  # 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6 in bins of 0.1
        (mark,) = [path for path in chart.iter(f"{SVG}path") if "stroke: var(--series-2)" in path.get("style", "")]
        assert float(mark.get("d").split()[1]) == pytest.approx(left[0] + 10 * width, abs=0.1)
        assert (
            "Of 9 correctly classified samples, 7 were broken by a perturbation of at most ε = 2 (1 HU a pixel, RMS)."
            in full.words
        )
        assert "The median is ε = 1 (0.5 HU a pixel, RMS)" in full.words
        assert "none found: 2" in chart.get("aria-label")

    def test_quantiles_count_what_was_not_found_as_further(self, full):
        table = full.tables["Perturbation that breaks a given share of the correctly classified samples"]
        # Nine samples: 0.2 0.4 0.6 0.8 1 1.2 1.6 and two beyond 2; the 1st, 3rd, 5th, 7th and 9th.
        assert table[1:] == [
            ["5%", "0.2", "0.1"],
            ["25%", "0.6", "0.3"],
            ["50%", "1", "0.5"],
            ["75%", "1.6", "0.8"],
            ["95%", "> 2", "> 1"],
        ]

    def test_without_distances_the_first_level_is_shown_and_how_to_get_them(self, tmp_path):
        page = html(tmp_path, classification(minimum=None))
        rows = page.tables["Samples by the first ε that breaks them"]
        assert [row[-1] for row in rows[1:]] == ["1", "2", "3", "2", "2"]
        assert "--norm l2 --minimum" in page.words
        bars = heights(page.chart("First ε that breaks a sample"))
        assert [bar / bars[0] for bar in bars] == pytest.approx([1, 2, 3, 2, 2], abs=0.01)
        assert texts(page.chart("First ε that breaks a sample"))[:5] == ["0", "0.5", "1", "2", "none"]
        assert "Those at 0 are misclassified without an attack, those at “none” hold at every ε." in page.words

    def test_a_case_that_no_attack_broke_is_said_not_to_be(self, tmp_path):
        content = classification()
        content["cases"][1] |= {"sample_id": "s3", "epsilon": 1.0}  # broken at 1
        content["cases"][2] |= {"sample_id": "s9", "epsilon": 2.0}  # never
        page = html(tmp_path / "some", content)
        assert "s3, ε = 1 (0.5 HU a pixel, RMS)" in page.words
        assert "s9, not broken up to ε = 2 (1 HU a pixel, RMS)" in page.words
        assert "Those that are broken most easily come first." in page.words
        page = html(tmp_path / "none", {**content, "cases": content["cases"][2:]})
        assert "No attack broke any of these." in page.words
        assert "broken most easily" not in page.words

    def test_cases_are_embedded_with_what_they_say(self, full):
        assert [one["alt"] for one in full.pictures] == [
            f"NORMAL, predicted NORMAL, under attack DME ({k})" for k in range(3)
        ]
        assert all(one["src"].startswith("data:image/png;base64,iVBORw0KGgo") for one in full.pictures)
        assert "case1, ε = 0.5 (0.25 HU a pixel, RMS)" in full.words

    def test_uniform_noise_is_shown_beside_the_attack(self, full):
        rows = full.tables["Share of correct predictions broken: the numbers"]
        assert rows == [
            ["ε", "RMS a pixel, HU", "uniform noise, 20 draws", "all attacks"],
            ["0", "0", "0.000", "0.000"],
            ["0.5", "0.25", "0.000", "0.222"],  # 2 of 9
            ["1", "0.5", "0.013", "0.556"],
            ["2", "1", "0.100", "0.778"],
        ]


class TestTrust:
    def test_passed_checks_are_listed_and_what_they_saw_is_in_the_appendix(self, full):
        body, appendix = full.text.split('<details id="appendix"')
        assert "2 passed, 0 failed, 1 not run. Each looks for a sign" in full.words
        assert "Passed: More steps never help the defence; Unbounded perturbations break everything." in full.words
        assert "✓ passed" in appendix
        assert "✓ passed" not in body
        assert "(n = 10; 20 steps: 0.412; 50 steps: 0.401)" in full.words
        assert "– not run Perturbations of another network are weaker" in full.words
        assert 'class="failed"' not in full.text

    def test_a_failed_check_stands_in_the_verdict_and_in_full_in_its_section(self, tmp_path):
        content = classification()
        content["checks"][1]["status"] = "failed"
        page = html(tmp_path, content)
        head = page.text[: page.text.index("<nav")]
        assert "No: oct_classification_ima fails 1 of 2 checks for gradient masking" in head
        assert "Unbounded perturbations break everything" in head
        assert "This means: Gradients are masked." in page.words
        body = page.text[: page.text.index('<details id="appendix"')]
        assert body.count("✗ failed") == 1

    def test_without_checks_the_command_that_runs_them_is_given(self, tmp_path):
        assert "--norm l2 --checks" in html(tmp_path, classification(checks=None)).words

    def test_independent_code_that_differs_is_pointed_out(self, full):
        assert full.tables["Accuracy under attack, theirs and ours"][1:] == [
            ["ART 1.20 AutoAttack", "0.415", "0.400", "+0.015", "yes"],
            ["torchattacks 3.5 PGD", "0.625", "0.400", "+0.225", "no"],
        ]
        assert "1 of 2 results do not agree with ours" in full.words

    def test_subgroups_have_sizes_intervals_and_the_largest_gap(self, full):
        rows = full.tables["Accuracy by scanner under all attacks, with 95 % intervals: the numbers"]
        assert rows[0] == ["ε", "RMS a pixel, HU", "A (n = 4)", "B (n = 6)"]
        assert rows[3] == ["1", "0.5", "0.125 [0.000, 0.500]", "0.583 [0.167, 0.917]"]
        assert (
            "The largest gap in accuracy is 0.750, between A (4 samples) and B (6 samples) at ε = 0.5 (0.25 HU a "
            "pixel, RMS)"
        ) in full.words


class TestComparison:
    def other(self) -> dict:
        content = classification(levels=[0.0, 1.0, 4.0])
        content["model"]["checkpoint"] = "models/plain.pt"
        attack = {"name": "pgd100x2", "values": [0.95, 0.25, 0.0], "intervals": [[0.9, 1.0], [0.1, 0.4], [0.0, 0.1]]}
        return {
            **content,
            "attacks": [attack],
            "accuracy": attack["values"],
            "accuracy_by_class": {},
            **dict.fromkeys(("noise", "minimum", "groups")),
            "cases": [],
            "samples": [{**one, "broken_at": {"pgd100x2": None}} for one in content["samples"]],
        }

    def test_models_stand_side_by_side_each_at_its_own_levels(self, tmp_path):
        page = html(tmp_path, classification(), self.other())
        rows = page.tables["Accuracy under all attacks of each model, with 95 % intervals"]
        assert rows == [
            [
                "ε",
                "RMS a pixel, HU",
                "oct_classification_ima, model.pt (n = 10)",
                "oct_classification_ima, plain.pt (n = 10)",
            ],
            ["0", "0", "0.900 [0.700, 1.000]", "0.950 [0.900, 1.000]"],
            ["0.5", "0.25", "0.700 [0.410, 0.960]", "–"],
            ["1", "0.5", "0.400 [0.120, 0.710]", "0.250 [0.100, 0.400]"],
            ["2", "1", "0.200 [0.020, 0.520]", "–"],
            ["4", "2", "–", "0.000 [0.000, 0.100]"],
        ]
        chart = page.chart("Accuracy under all attacks of each model")
        one, two = markers(chart, 1, 4), markers(chart, 2, 3)
        assert (one[3][0] - one[0][0]) * 2 == pytest.approx(two[2][0] - two[0][0], abs=0.05)
        assert "Different attacks" in page.words

    def test_different_norms_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"has norm l2 and .*model1/results.json linf, expected the same"):
            html(tmp_path, classification(), classification(norm="linf"))

    def test_different_metrics_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"has metric accuracy and .* dice, expected the same"):
            html(tmp_path, classification(), segmentation())

    def test_different_units_are_not_put_on_one_physical_scale(self, tmp_path):
        page = html(tmp_path, classification(), classification(units={"name": "HU", "per_unit": 5.0}))
        rows = page.tables["Accuracy under all attacks of each model, with 95 % intervals"]
        assert rows[0][:2] == ["ε", "oct_classification_ima, model0 (n = 10)"]
        assert "equal ε are not equal perturbations" in page.words

    def test_different_data_are_pointed_out(self, tmp_path):
        other = self.other()
        other["data"]["name"] = "another phantom"
        assert "The models were not measured on the same samples." in html(tmp_path, classification(), other).words


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint with six margins."""
    return write_margins(tmp_path / "model_last.pt", [1.0, 1.0, 2.0, 3.0, 4.0, 4.0])


@pytest.fixture
def logs(tmp_path) -> Path:
    """A folder with the event files of one run two folders down."""
    with SummaryWriter(str(tmp_path / "logs" / "eval" / "run")) as writer:
        for step in range(500):
            writer.add_scalar("train_loss", 2.0 if step < 499 else float("nan"), step + 1)
        for epoch, (accuracy, margin) in enumerate([(0.5, 1.0), (0.75, 2.5), (0.625, 3.0)], 1):
            writer.add_scalar("val_accuracy", accuracy, epoch)
            writer.add_scalar("ima/margin_mean", margin, epoch)
    return tmp_path / "logs"


class TestTraining:
    def test_margins_have_a_size_in_a_pixel_where_training_noted_it(self, tmp_path):
        file = write_margins(tmp_path / "model.pt", [1.0, 2.5, 4.0])
        content = torch.load(file, weights_only=True)
        content["margins"] |= {"norm": "l2", "image_values": [784]}
        torch.save(content, file)
        page = html(tmp_path, segmentation(), checkpoint=str(file))
        assert "between δ = 1 (0.0357 a pixel, RMS) and ε_max = 4 (0.143 a pixel, RMS)" in page.words
        table = page.tables["Quantiles of the margins (n = 3)"]
        assert (table[0], table[3]) == (["margins at or below", "ε", "RMS a pixel"], ["50%", "2.5", "0.0893"])

    def test_margins_are_shown_with_the_median_as_fixed_epsilon(self, tmp_path, checkpoint):
        page = html(tmp_path, segmentation(), checkpoint=str(checkpoint))
        assert "6 training samples" in page.words
        assert "33.3 % of the margins lie at δ" in page.words
        assert "33.3 % at ε_max" in page.words
        assert "the median is a start: ε = 2.5." in page.words
        assert "take the largest ε_max whose clean validation accuracy is still acceptable" in page.words
        bars = heights(page.chart("Margins of the training samples"))
        assert [round(bar / bars[10]) for bar in bars if bar > 0] == [2, 1, 1, 2]
        assert ["50%", "2.5"] in page.tables["Quantiles of the margins (n = 6)"]

    def test_logged_scalars_are_found_below_the_folder(self, tmp_path, logs):
        page = html(tmp_path, segmentation(), logs=str(logs))
        rows = {row[0]: row[1:] for row in page.tables["Logged scalars"]}
        assert rows["validation accuracy (val_accuracy)"] == ["3", "0.5", "0.625", "0.5", "0.75"]
        assert rows["IMA: mean margin (ima/margin_mean)"] == ["3", "1", "3", "1", "3"]
        assert rows["training loss (train_loss)"] == ["499", "2", "2", "2", "2"]
        points = markers(page.chart("Mean margin"), 1, 3)
        assert (points[0][1] - points[1][1]) / (points[0][1] - points[2][1]) == pytest.approx(0.75, abs=1e-3)

    def test_runs_are_told_apart(self, tmp_path, logs):
        with SummaryWriter(str(logs / "other")) as writer:
            writer.add_scalar("val_accuracy", 0.25, 1)
        page = html(tmp_path, segmentation(), logs=str(logs))
        rows = {row[0] for row in page.tables["Logged scalars"]}
        named = "validation accuracy (val_accuracy)"
        assert {f"eval/run: {named}", f"other: {named}"} <= rows
        assert "other: validation accuracy" in texts(page.chart("Scores"))

    def test_legends_are_in_words_and_unknown_scalars_keep_their_names(self, tmp_path):
        with SummaryWriter(str(tmp_path / "logs")) as writer:
            for tag in ("val_accuracy", "val_robust_accuracy", "my_score", "ima/loss_clean", "ima/loss_other"):
                writer.add_scalar(tag, 0.5, 1)
        page = html(tmp_path, segmentation(), logs=str(tmp_path / "logs"))
        scores, parts = (texts(page.chart(title)) for title in ("Scores", "Parts of the loss"))
        assert {"validation accuracy", "validation accuracy under attack", "my_score"} <= set(scores)
        assert {"IMA: loss on clean samples", "ima/loss_other"} <= set(parts)
        assert "my_score" in [row[0] for row in page.tables["Logged scalars"]]

    def test_a_folder_without_logs_is_refused(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="holds no TensorBoard event files"):
            html(tmp_path, segmentation(), logs=str(tmp_path / "empty"))
        with pytest.raises(FileNotFoundError, match="none does not exist"):
            html(tmp_path / "two", segmentation(), logs=str(tmp_path / "none"))


class TestSafety:
    NASTY = '<script>alert(1)</script>" onload="x" $a_b$ #020101;'

    def nasty(self) -> dict:
        content = classification()
        content["model"]["name"] = content["data"]["name"] = content["settings"]["note"] = self.NASTY
        content["accuracy_by_class"] = {self.NASTY: [0.5] * 4, "_hidden": [0.25] * 4}
        content["cases"][0]["sample_id"] = content["cases"][0]["summary"] = self.NASTY
        content["checks"][0]["summary"] = content["attacks"][0]["name"] = self.NASTY
        content["groups"]["column"] = self.NASTY
        for sample in content["samples"]:
            sample["broken_at"] = {self.NASTY: None}
        content["minimum"] = None
        return content

    def test_text_of_results_is_never_markup(self, tmp_path):
        page = html(tmp_path, self.nasty(), title=self.NASTY)
        assert "script" not in page.tags
        assert page.words.count("<script>alert(1)</script>") >= 8
        assert page.pictures[0]["alt"] == self.NASTY
        assert set(page.pictures[0]) == {"src", "alt", "width", "height"}
        texts = [text.text for text in page.chart("Accuracy by class under all attacks").iter(f"{SVG}text")]
        assert any(text.startswith("<script>alert(1)</script>") for text in texts)
        assert "_hidden (n = 3)" in texts

    def test_markdown_is_escaped_too(self, tmp_path):
        text = written(tmp_path, self.nasty(), "md")
        assert "<" not in text
        assert "&lt;script&gt;alert(1)" in text

    def test_a_pipe_does_not_open_a_cell(self, tmp_path):
        text = written(tmp_path, classification(accuracy_by_class={"a|b": [0.5] * 4}), "md")
        rows = [line for line in text.splitlines() if "a\\|b" in line]
        assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4]

    def test_the_page_loads_nothing(self, full):
        text = full.text
        assert "default-src 'none'" in text
        targets = re.findall(r"""(?:src|href|action)="([^"]*)"|url\(([^)]*)\)|@import""", text)
        assert targets
        assert all((a or b).startswith(("#", "data:image/png;base64,")) for a, b in targets)

    def test_ids_are_unique_and_references_resolve(self, tmp_path):
        text = html(tmp_path, classification(), classification()).text
        ids = re.findall(r'\bid="([^"]+)"', text)
        used = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', text)
        assert len(ids) == len(set(ids))
        assert {part for reference in used for part in reference.split()} <= set(ids)

    def test_the_same_results_give_the_same_page(self, tmp_path):
        write(tmp_path, classification())
        report(str(tmp_path), out=str(tmp_path / "one.html"))
        report(str(tmp_path), out=str(tmp_path / "two.html"))
        assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()

    def test_no_colour_outside_the_scheme(self, full):
        for svg in re.findall(r"<svg.*?</svg>", full.text, re.DOTALL):
            assert not re.search(r"#[0-9a-f]{6}", svg)
        used = set(re.findall(r"var\((--[\w-]+)\)", full.text))
        assert used <= set(re.findall(r"(--[\w-]+):", full.text))


class TestFiles:
    def test_the_page_lies_beside_the_first_results(self, tmp_path, capsys):
        write(tmp_path / "a", classification())
        write(tmp_path / "b", segmentation())
        report(str(tmp_path / "a" / "results.json"))
        assert capsys.readouterr().out == f"Written to {tmp_path / 'a' / 'report.html'}\n"
        assert (tmp_path / "a" / "report.html").is_file()

    def test_nothing_is_written_over(self, tmp_path):
        write(tmp_path, segmentation())
        (tmp_path / "report.html").write_text("mine")
        with pytest.raises(FileExistsError, match=r"report.html exists and is not written over"):
            report(str(tmp_path))
        assert (tmp_path / "report.html").read_text() == "mine"

    def test_several_paths_are_separated_by_commas(self, tmp_path):
        for name in "ab":
            write(tmp_path / name, segmentation())
        report(f"{tmp_path / 'a'},{tmp_path / 'b'}", format="json", title="Two")
        content = json.loads((tmp_path / "a" / "report.json").read_text(encoding="utf-8"))
        assert content["title"] == "Two"
        assert [one["name"] for one in content["models"]] == ["hippocampus_ima, a", "hippocampus_ima, b"]

    def test_json_holds_the_numbers(self, tmp_path, checkpoint, logs):
        content = json.loads(written(tmp_path, classification(), "json", checkpoint=str(checkpoint), logs=str(logs)))
        (model,) = content["models"]
        assert model["attacks"][-1]["values"] == [0.9, 0.7, 0.4, 0.2]
        assert model["attacks"][-1]["intervals"][2] == [0.12, 0.71]
        assert model["units"] == {"name": "HU", "per_unit": 20.0}
        assert model["image_values"] == {"fewest": 1600, "median": 1600.0, "most": 1600, "dimensions": 2}
        assert model["checks"]["Perturbations of another network are weaker"] == "not run"
        assert model["groups"]["largest_gap"] == {"level": 0.5, "between": ["A", "B"], "gap": 0.75}
        assert model["crosscheck"]["rows"][1]["agrees"] is False
        assert content["margins"]["suggested_eps"] == 2.5
        assert content["training"]["eval/run"]["val_accuracy"] == {"values": 3, "first": 0.5, "last": 0.625}

    def test_markdown_has_the_tables(self, tmp_path):
        lines = written(tmp_path, classification(), "md").splitlines()
        assert "| 1 | 0.5 | 0.600 \\[0.310, 0.870\\] | 0.400 \\[0.120, 0.710\\] |" in lines
        assert lines[0] == "# Robustness of oct\\_classification\\_ima"
        assert sum(line.startswith("> **SYNTHETIC data**") for line in lines) == 1

    def test_the_command_line_says_in_one_line_what_is_wrong(self, tmp_path, capsys):
        write(tmp_path, classification(norm="l1"))
        assert main(["report", "--results", str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"norm in {tmp_path}/results.json is 'l1', expected 'l2' or 'linf'.\n"

    def test_the_command_line_writes_the_page(self, tmp_path):
        for name in "ab":
            write(tmp_path / name, segmentation())
        assert main(["report", "--results", f"{tmp_path / 'a'},{tmp_path / 'b'}", "--title", "7"]) == 0
        assert "<h1>7</h1>" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")

    def test_an_unknown_format_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="Unknown format 'pdf', expected 'html' or 'md' or 'json'"):
            report(str(tmp_path), format="pdf")


class TestReading:
    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("format", 2, r"results.json has format 2, expected 3: evaluate again"),
            ("format", None, r"has format None, expected 3: evaluate again"),
            (
                "task",
                "detection",
                r"task in .*results.json is 'detection', expected one of classification, segmentation",
            ),
            ("metric", "dice", r"metric in .* is 'dice', expected 'accuracy'"),
            ("norm", "l1", r"norm in .* expected 'l2' or 'linf'"),
            ("levels", [0.0, 1.0, 1.0, 2.0], r"levels in .* expected at least one perturbation budget, rising"),
            ("levels", [], r"levels in .* expected at least one perturbation budget"),
            ("levels.1", "0.5", r"levels\[1\] in .* is '0.5', expected a valid number"),
            ("attacks", [], r"attacks in .* expected at least one attack"),
            ("attacks.1.values.2", 1.5, r"attacks\[1\].values\[2\] in .* is 1.5, expected less than or equal to 1"),
            ("attacks.0.values.2", float("nan"), r"attacks\[0\].values\[2\] in .* is nan, expected a finite number"),
            (
                "attacks.0.values",
                [0.9, 0.8, 0.6],
                r"attacks\[0\].values in .* is \[0.9, 0.8, 0.6\], expected 4 entries, one for each of levels",
            ),
            ("attacks.0.intervals.1", [0.9, 0.1], r"attacks\[0\].intervals\[1\] in .* expected the lower end first"),
            ("attacks.0.intervals.1", [0.9], r"intervals\[1\] in .* expected two numbers"),
            ("accuracy_by_class.CNV", [0.1] * 5, r"accuracy_by_class.CNV in .* is \[0.1, .*\], expected 4 entries"),
            ("units.per_unit", 0, r"units.per_unit in .* is 0, expected greater than 0"),
            ("noise.failure_rate.0", -0.1, r"failure_rate\[0\] in .* is -0.1, expected greater than or equal to 0"),
            ("minimum.found", 6, r"minimum.found in .* is 6, expected 7, the correctly classified samples that have a"),
            ("minimum.found", 10, r"minimum.found in .* is 10, expected at most 9"),
            ("groups.values.A", None, r"groups.values.A in .* is None, expected a valid array"),
            ("groups.largest_gap.between.0", "C", r"largest_gap.between\[0\] in .* is 'C', expected one of A, B"),
            ("checks.0.status", "maybe", r"checks\[0\].status in .* is 'maybe', expected 'passed', 'failed' or "),
            ("crosscheck.rows.0.agrees", "yes", r"rows\[0\].agrees in .* is 'yes', expected a valid boolean"),
            ("samples.3.label", -1, r"samples\[3\].label in .* is -1, expected greater than or equal to 0"),
            ("samples.3.broken_at.pgd100x2", 0.7, r"samples\[3\].broken_at.pgd100x2 in .* expected one of the levels"),
            ("data.samples", 11, r"data.samples in .* is 11, expected 10, the number of entries of samples"),
            ("data.synthetic", 1, r"data.synthetic in .* is 1, expected a valid boolean"),
            ("model", "a", r"model in .* is 'a', expected an object"),
            (
                "cases.1.picture",
                "cases/09.png",
                r"09.png, named by cases\[1\].picture in .*results.json, does not exist",
            ),
            ("cases.1.picture", "../results.json", r"cases\[1\].picture in .* expected a file in the folder"),
            ("cases.1.picture", "results.json", r"named by cases\[1\].picture in .* is not a PNG file"),
        ],
    )
    def test_a_wrong_value_is_refused_by_file_and_key(self, tmp_path, path, value, message):
        file = write(tmp_path, classification())
        content = copy.deepcopy(classification())
        *above, last = path.split(".")
        node = content
        for key in above:
            node = node[int(key) if isinstance(node, list) else key]
        node[int(last) if isinstance(node, list) else last] = value
        file.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            report(str(tmp_path))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "report.html").exists()

    @pytest.mark.parametrize(
        "key",
        sorted(
            set(classification())
            - {"format", "date", "commit", "image_values", "bounds", "noise_scale", "perturbations"}
        ),
    )
    def test_a_missing_key_is_named(self, tmp_path, key):
        content = classification()
        del content[key]
        write(tmp_path, classification())
        (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match=f"results.json has no {key}, expected it as"):
            report(str(tmp_path))

    def test_a_class_without_surface_scores_is_named(self, tmp_path):
        content = segmentation()
        del content["hd95_by_class"]["posterior"]
        write(tmp_path, content)
        with pytest.raises(ValueError, match=r"hd95_by_class in .* is .*, expected an entry for the class posterior"):
            report(str(tmp_path))

    @pytest.mark.parametrize("content", ["", "{", "[" * 100000, "\ufeff", "not json"])
    def test_what_is_not_json_is_refused(self, tmp_path, content):
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"results.json is not JSON"):
            report(str(tmp_path))

    @pytest.mark.parametrize("content", ["[]", "3", "null"])
    def test_json_that_is_no_object_is_refused(self, tmp_path, content):
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"results.json is .*, expected an object"):
            report(str(tmp_path))

    def test_a_folder_without_results_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"results.json does not exist, expected results of"):
            report(str(tmp_path))

    def test_the_hand_made_samples_agree_with_the_hand_made_curve(self):
        broken = [one["broken_at"]["apgd100-dlr"] for one in samples()]
        robust = [sum(level is None or level > at for level in broken) / 10 for at in LEVELS]
        assert robust == classification()["accuracy"]


@pytest.mark.parametrize(
    ("name", "metric", "words"),
    [
        ("apgd100-ce", "accuracy", "Auto-PGD, 100 steps, on the soft logit margin"),
        ("apgd100-ce", "dice", "Auto-PGD, 100 steps, on cross-entropy"),
        ("pgd20-dice", "accuracy", "pgd20-dice"),
        ("apgd100-dlr", "dice", "apgd100-dlr"),
    ],
)
def test_an_attack_is_named_by_what_it_maximises_on_this_metric(name, metric, words):
    assert attack_words(name, metric) == words
