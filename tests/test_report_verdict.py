"""The three sentences that a report begins with, what it lists as not measured, and where its words stand."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_results import LEVELS, classification, perturbed, segmentation, write

from monai_ima.cli.report import report
from monai_ima.report import build_report, markdown
from monai_ima.report.blocks import Report, Verdict
from monai_ima.results.parts import ImageValues
from monai_ima.results.pixel_size import PixelSize
from monai_ima.results.schema import Results
from monai_ima.utils.attack_names import AttackName
from monai_ima.utils.plain_numbers import plain_number

RAW_NAME = re.compile(r"\b(i?fgsm|a?pgd|ddn|spsa|noise)\d+", re.IGNORECASE)


def read(folder: Path, *contents: dict[str, Any]) -> list[Results]:
    """These results, called plain and hardened where there are two."""
    models: list[Results] = [Results.read(write(folder / str(k), content)) for k, content in enumerate(contents)]
    return (
        [one.named(name) for one, name in zip(models, ("plain", "hardened"), strict=True)]
        if len(models) == 2
        else models
    )


def sentences(models: list[Results]) -> dict[str, str]:
    """The verdict, with plain spaces."""
    (found,) = [block for block in build_report(models).verdict if isinstance(block, Verdict)]
    return {what: sentence.replace("\u00a0", " ") for what, sentence in found.sentences}


def many(broken: list[float | None], **changes: Any) -> dict[str, Any]:
    """Results of as many samples, each of another patient, that the only attack breaks at these levels."""
    samples = [
        {
            "sample_id": f"s{k}",
            "label": 0,
            "predicted": 1 if level == 0 else 0,
            "broken_at": {"pgd100x2": level},
            "noisy_predicted": 1,
            "patient": f"p{k}",
        }
        for k, level in enumerate(broken)
    ]
    accuracy = [float(np.mean([level is None or level > eps for level in broken])) for eps in LEVELS]
    content = {
        **classification(),
        "attacks": [{"name": "pgd100x2", "values": accuracy, "intervals": [None] * 4}],
        "accuracy": accuracy,
        "accuracy_by_class": {},
        "samples": samples,
        "cases": [],
        **dict.fromkeys(("noise", "minimum", "groups", "crosscheck")),
        **changes,
    }
    content["data"] = {**content["data"], "samples": len(samples), "patients": len(samples)}
    return content


class TestTwoModels:
    # Of 20 patients: plain is right on 18, 12, 4 and 0 at the four levels, hardened on 17, 16, 14 and 8.
    PLAIN = [0.0] * 2 + [0.5] * 6 + [1.0] * 8 + [2.0] * 4
    HARDENED = [0.0] * 3 + [0.5] * 1 + [1.0] * 2 + [2.0] * 6 + [None] * 8

    def test_gain_and_cost_are_paired_differences_in_points(self, tmp_path):
        found = sentences(read(tmp_path, many(self.PLAIN), many(self.HARDENED)))
        gain, cost = found["Gain"], found["Cost without an attack"]
        assert gain.startswith(
            "Under the strongest attack at ε = 1 (0.5 HU a pixel, RMS), hardened is right on 70 % of the samples, "
            "plain on 20 %: 50 points more (95 % interval +"
        )
        assert (
            "hardened is right on 85 % of the samples, plain on 90 %: 5 points fewer, which chance can explain" in cost
        )
        assert cost.endswith("paired over 20 samples.")
        # One of twenty pairs differs, by -1: its share in a draw of 20 is binomial, 97.5 % of the draws have at most 3.
        ends = re.search(r"interval (\S+) to (\S+)\)", cost.replace("−", "-"))
        assert ends is not None
        assert tuple(map(float, ends.groups())) == (-15.0, 0.0)

    def test_the_models_are_not_taken_for_each_other(self, tmp_path):
        found = sentences(read(tmp_path, many(self.HARDENED), many(self.PLAIN)))
        assert "hardened is right on 20 % of the samples, plain on 70 %: 50 points fewer (" in found["Gain"]

    def test_samples_of_one_patient_are_drawn_together_and_it_is_said(self, tmp_path):
        contents = [many(self.PLAIN), many(self.HARDENED)]
        for content in contents:
            content["data"]["patients"] = 10
            for k, sample in enumerate(content["samples"]):
                sample["patient"] = f"p{k // 2}"
        assert sentences(read(tmp_path, *contents))["Cost without an attack"].endswith(
            "paired over 20 samples of 10 patients."
        )

    def test_of_few_patients_no_interval_is_given(self, tmp_path):
        gain = sentences(read(tmp_path, many([1.0] * 4), many([2.0] * 4)))["Gain"]
        assert "hardened is right on 100 % of the samples, plain on 0 %: 100 points more (too few to give" in gain

    def test_other_samples_give_no_difference(self, tmp_path):
        other = many(self.HARDENED)
        other["samples"][0]["sample_id"] = "another"
        found = sentences(read(tmp_path, many(self.PLAIN), other))
        assert found["Gain"].startswith("The models were not measured on the same samples under the same attacks")
        assert "points" not in found["Gain"] + found["Cost without an attack"]
        assert "hardened is right on 70 % of the samples and plain is right on 20 %" in found["Gain"]

    def test_perturbations_are_named_with_their_unit(self, tmp_path):
        change = [("rotation", "degrees", 10.0)]
        contents = [
            {**many(self.PLAIN), "perturbations": perturbed(change, 0.25)},
            {**many(self.HARDENED), "perturbations": perturbed(change, 0.75)},
        ]
        gain = sentences(read(tmp_path, *contents))["Gain"]
        assert gain.endswith(
            "; in the worst case of changes as scanners make them 50 points more (rotation, 10 degrees)."
        )
        lost = sentences(read(tmp_path / "lost", *contents[::-1]))["Gain"]
        assert lost.endswith(" 50 points fewer (rotation, 10 degrees).")

    def test_what_costs_nothing_is_not_called_a_cost(self, tmp_path):
        found = sentences(read(tmp_path, many(self.HARDENED), many(self.PLAIN)))
        assert found["Without an attack"].startswith(
            "hardened is right on 90 % of the samples, plain on 85 %: 5 points"
        )
        assert "Cost without an attack" not in found

    def test_dice_differs_by_its_own_size(self, tmp_path):
        one, other = segmentation(), segmentation()
        for sample in other["samples"]:
            sample["after"] = {"pgd100x2": [0.8, 0.9, 0.8]}
        gain = sentences(read(tmp_path, one, other))["Gain"]
        assert "hardened has a Dice of 0.900, plain of 0.800: 0.100 higher (too few to give an interval)" in gain


class TestOneModel:
    def test_robustness_clean_score_and_trust(self, tmp_path):
        found = sentences(read(tmp_path, classification()))
        assert found == {
            "Robustness": "Under the strongest attack at ε = 1 (0.5 HU a pixel, RMS), oct_classification_ima is right "
            "on 40 % of the samples (95 % interval 12 to 71); half of its correct predictions break at ε = 1 or less.",
            "Without an attack": "oct_classification_ima is right on 90 % of the samples (95 % interval 70 to 100), "
            "measured on 10 SYNTHETIC samples of 5 patients.",
            "Can it be trusted?": "Nothing speaks against it: oct_classification_ima passes all 2 checks for gradient "
            "masking (1 could not be run); independent code finds no lower score.",
        }

    def test_without_checks_trust_is_not_known(self, tmp_path):
        assert sentences(read(tmp_path, classification(checks=None)))["Can it be trusted?"].startswith("Not known: no ")

    def test_independent_code_that_finds_less_is_no_trust(self, tmp_path):
        content = classification()
        content["crosscheck"]["rows"][0] |= {"theirs": 0.3, "agrees": False}
        trusted = sentences(read(tmp_path, content))["Can it be trusted?"]
        assert (
            trusted == "No: independent code finds a lower score of oct_classification_ima than the attacks used here."
        )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_share_of_the_intensity_range_is_that_of_the_noise(norm):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 20, 30))
    eps = float(np.linalg.norm(noise) if norm == "l2" else np.abs(noise).max())
    size = float(np.sqrt((noise**2).mean()) if norm == "l2" else eps)
    values = ImageValues(fewest=600, median=600.0, most=600)
    assert PixelSize(norm, None, values, (-2.0, 6.0)).share(eps) == pytest.approx(size / 8)


def test_sizes_are_said_in_grey_levels_where_the_range_is_known(tmp_path):
    content = classification(norm="linf", units=None, bounds=[0.0, 4.0])
    assert sentences(read(tmp_path, content))["Robustness"].startswith(
        "Under the strongest attack at ε = 1 (at most 25 % of the intensity range a pixel, 64 of 255 grey levels), oct"
    )


class TestNotMeasured:
    def listed(self, report: Report) -> dict[str, str]:
        section = report.sections[-1]
        assert section.id == "not-measured"
        return dict(section.blocks[0].items)

    def test_everything_that_lacks_is_in_one_list_at_the_end(self, tmp_path):
        whole = self.listed(build_report(read(tmp_path / "whole", classification())))
        bare = classification(checks=None, crosscheck=None, minimum=None, noise=None, groups=None, cases=[])
        lacking = self.listed(build_report(read(tmp_path / "bare", bare)))
        names = {
            "Checks for gradient masking": "--checks",
            "Verification with independent code": "--crosscheck",
            "The smallest perturbation that breaks each sample": "--minimum",
            "Uniform random noise beside the attack": "",
            "Subgroups": "--group_by",
            "Worst cases": "",
        }
        assert not names.keys() & whole.keys()
        assert names.keys() <= lacking.keys()
        assert all(option in lacking[name] for name, option in names.items())
        assert "Check “Perturbations of another network are weaker”" in whole

    def test_what_one_model_lacks_is_said_of_it(self, tmp_path):
        models = read(tmp_path, classification(checks=None), classification())
        assert "Checks for gradient masking of plain" in self.listed(build_report(models))

    def test_a_section_without_figures_is_left_out(self, tmp_path):
        (model,) = read(tmp_path, classification(groups=None, crosscheck=None, cases=[]))
        section = next(one for one in build_report([model]).sections if one.id == "model-1")
        assert {"groups", "verification", "cases"}.isdisjoint(
            one.id.removeprefix("model-1-") for one in section.sections
        )

    def test_the_appendix_has_the_command_that_measures_it(self, tmp_path):
        text = markdown(build_report(read(tmp_path, classification(checks=None, minimum=None))))
        assert "--norm l2 --checks --minimum" in text


class TestWords:
    def page(self, folder: Path, *contents: dict[str, Any]) -> str:
        for k, content in enumerate(contents):
            write(folder / str(k), content)
        report([str(folder / str(k)) for k in range(len(contents))], out=str(folder / "page.html"))
        return (folder / "page.html").read_text(encoding="utf-8")

    def test_names_of_attacks_stand_in_the_appendix_only(self, tmp_path):
        weak = classification()
        weak["attacks"] = weak["attacks"][:1]
        body, appendix = self.page(tmp_path, classification(), weak).split('<details id="appendix"')
        assert RAW_NAME.findall(body) == []
        assert RAW_NAME.search(appendix)
        assert "Different attacks" in body

    def test_numbers_have_no_exponents_and_nouns_their_number(self, tmp_path):
        content = classification(norm="linf", units={"name": "HU", "per_unit": 1510.4})
        content["checks"][0]["numbers"] = {"smallest": 2.3e-7, "largest": 31e6}
        content["attacks"][0]["name"] = "pgd1x1"
        content["attacks"][1]["name"] = "apgd1x1-dlr"
        for sample in content["samples"]:
            sample["broken_at"] = dict(zip(("pgd1x1", "apgd1x1-dlr"), sample["broken_at"].values(), strict=True))
        words = re.sub(
            r"<svg.*?</svg>|base64,[^\"]*|<style.*?</style>", "", self.page(tmp_path, content), flags=re.DOTALL
        )
        assert "at most 1510 HU a pixel" in words.replace("\u00a0", " ")
        assert "smallest: 0.00000023; largest: 31000000" in words
        assert re.findall(r"\d[eE][+-]\d+", words) == []
        assert re.findall(r"(?<![\d.])1 (?:restart|step|sample|draw|check|model|patient)s", words) == []
        assert "projected gradient descent, 1 step, 1 restart" in words

    def test_the_appendix_is_folded_unless_it_is_asked_for(self, tmp_path):
        assert '<details id="appendix">' in self.page(tmp_path / "folded", classification())
        write(tmp_path / "open", classification())
        report(str(tmp_path / "open"), appendix=True)
        assert '<details id="appendix" open>' in (tmp_path / "open" / "report.html").read_text(encoding="utf-8")

    def test_three_pictures_are_open_and_the_others_folded(self, tmp_path):
        content = classification()
        content["cases"] = [
            {**content["cases"][0], "sample_id": f"case{k}", "picture": f"cases/{k}.png"} for k in range(5)
        ]
        content["noise_scale"] = 0.125
        page = self.page(tmp_path, content)
        assert "one colour scale in all cases, from −0.12 (blue) over 0 (white) to 0.12 (red)" in page
        assert page.index("case2,") < page.index("<summary>2 more pictures</summary>") < page.index("case3,")

    def test_markdown_and_json_say_the_same(self, tmp_path):
        file = write(tmp_path, classification())
        expected = sentences([Results.read(file)])
        for format in ("md", "json"):
            report(str(tmp_path), format=format)
        text = re.sub(r"\\(.)", r"\1", (tmp_path / "report.md").read_text(encoding="utf-8")).replace("\u00a0", " ")
        content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert {key: said.replace("\u00a0", " ") for key, said in content["verdict"].items()} == {
            "tone": "passed",
            **expected,
        }
        assert all(sentence in text for sentence in expected.values())
        assert set(content["not_measured"]) == set(TestNotMeasured().listed(build_report([Results.read(file)])))


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_a_plain_number_is_the_number_to_its_digits(digits):
    rng = np.random.default_rng(1)
    for value in [0.0, 1.0, -1510.4, *(10 ** rng.uniform(-9, 9, 200) * rng.choice([-1, 1], 200))]:
        text = plain_number(float(value), digits)
        assert re.fullmatch(r"-?\d+(\.\d+)?", text), text
        assert float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_attacks_are_described_with_the_number_of_their_nouns():
    assert AttackName.parse("pgd1x1").describe() == "projected gradient descent, 1 step, 1 restart"
    assert AttackName.parse("spsa2x1").describe() == "SPSA, without gradients, 2 steps, 1 direction a step"
    assert AttackName.parse("noise1").describe() == "uniform random noise, 1 draw"


def test_bounds_that_do_not_rise_are_refused(tmp_path):
    content = copy.deepcopy(classification(bounds=[1.0, 1.0]))
    with pytest.raises(ValueError, match=r"bounds in .* is \[1.0, 1.0\], expected two numbers, the lower one first"):
        Results.read(write(tmp_path, content))


@pytest.mark.parametrize(
    ("validated", "said"),
    [
        ((True, True), "Validation data of the bundle’s training config: where"),
        ((False, True), "Validation data of the bundle’s training config (hardened): where"),
        ((False, False), None),
    ],
)
def test_validation_data_are_called_so(tmp_path, validated, said):
    contents = [copy.deepcopy(classification()) for _ in validated]
    for content, one in zip(contents, validated, strict=True):
        content["data"]["validation"] = one
    text = markdown(build_report(read(tmp_path, *contents))).replace("**", "")
    assert ("alidation data of the bundle" in text) == (said is not None)
    assert said is None or said in text


def test_a_command_that_is_no_evaluation_has_no_further_options(tmp_path):
    content = {**classification(), "command": "monai-ima demo --quick", "checks": None}
    (results,) = read(tmp_path, content)
    assert results.command_with("checks") is None
    text = markdown(build_report([results]))
    assert "--checks" in text, "what was not measured names the option"
    assert "monai-ima demo --quick --" not in text
    assert "The same with what was not measured" not in text


@pytest.mark.parametrize(
    ("digests", "said"),
    [
        (["e" * 64, "e" * 64], True),
        (["e" * 64, "f" * 64], False),
        ([None, None], False),
    ],
)
def test_two_results_of_the_same_weights_are_said_to_be(tmp_path, digests, said):
    contents = [copy.deepcopy(classification()) for _ in digests]
    for content, digest in zip(contents, digests, strict=True):
        content["model"]["sha256"] = digest
    text = markdown(build_report(read(tmp_path, *contents)))
    sentence = "were measured as plain and as hardened: no difference between these comes from training"
    assert (sentence in " ".join(text.replace("\u00a0", " ").split())) == said
