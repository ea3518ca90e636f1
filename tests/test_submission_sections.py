"""The report's section for a submission file: figures filled in, what is missing named, no claim."""

from __future__ import annotations

import json
import re

import pytest
from conftest import REPO
from report_results import classification, segmentation, write
from shell_commands import documented_commands, shell

from monai_ima.cli.report import report
from monai_ima.report import build_report
from monai_ima.report.submission_sections import Answer, answers
from monai_ima.results.schema import Results
from monai_ima.results.settings import EvaluationSettings

PERTURBATION = {
    "name": "bias_field",
    "title": "bias field",
    "unit": "%",
    "levels": [0.0, 10.0, 20.0],
    "attacks": ["pgd20"],
    "draws": 5,
    "worst": {"values": [0.9, 0.7, 0.444], "intervals": [None, None, [0.2, 0.7]]},
    "average": {"values": [0.9, 0.85, 0.777], "intervals": [None, None, None]},
    "degradation": {"worst": 0.36, "average": 0.1},
    "samples": [],
    "case": None,
}


def asked(folder, content) -> dict[str, Answer]:
    """The answers on a results file, by the first words of their question."""
    write(folder, content)
    found = [answer for document in answers(Results.read(folder)).values() for answer in document]
    return {answer.question: answer for answer in found}


def about(found: dict[str, Answer], words: str) -> Answer:
    """The answer to the only question with these words."""
    (answer,) = [answer for question, answer in found.items() if words in question]
    return answer


@pytest.fixture
def full(tmp_path) -> dict[str, Answer]:
    """The answers on a classifier with everything measured."""
    return asked(tmp_path, classification(perturbations=[PERTURBATION]))


@pytest.fixture
def bare(tmp_path) -> dict[str, Answer]:
    """The answers on a segmentation with nothing beside the curve."""
    return asked(tmp_path, segmentation())


def test_performance_has_the_clean_score_with_its_interval_and_says_synthetic(full, bare):
    text = about(full, "performance on test data").measured
    assert text.startswith("Accuracy 0.900 [0.700, 1.000] without an attack, on 10 SYNTHETIC samples of 5 patients.")
    assert "By class from 0.750 (NORMAL) to 1.000 (CNV)" in text
    assert "nothing follows for patients" in text
    real = about(bare, "performance on test data").measured
    assert real.startswith("Dice 0.842 [0.800, 0.880] without an attack, on 2 samples.")
    assert "SYNTHETIC" not in real


def test_subgroups_have_scores_counts_and_the_largest_gap(full, bare):
    answer = about(full, "subgroups")
    assert "by scanner: A 0.750 [0.250, 1.000] (n = 4); B 1.000 [1.000, 1.000] (n = 6)." in answer.measured
    assert "Largest gap: 0.750, A above B, at ε" in answer.measured
    assert about(bare, "subgroups").measured == "not measured"
    assert "--groups FILE.csv --group_by COLUMN" in about(bare, "subgroups").missing


def test_input_variation_has_worst_and_average_case_of_each_change(full, bare):
    text = about(full, "acquisition").measured
    assert "bias field up to 20 %: worst case 0.444 [0.200, 0.700], on average 0.777" in text
    assert "10.0 % of the draws, 20 a sample, break a correct prediction" in text
    assert about(bare, "acquisition").measured == "not measured"
    assert "--perturbation NAMES" in about(bare, "acquisition").missing


def test_adversarial_input_has_every_level_and_what_found_it(full, bare):
    text = about(full, "model evasion").measured.replace("\u00a0", " ")
    for figure in ("0.700 [0.410, 0.960] at ε = 0.5", "0.400 [0.120, 0.710] at ε = 1", "0.200 [0.020, 0.520] at ε = 2"):
        assert figure in text
    assert "in the L2 norm: projected gradient descent, 100 steps, 2 restarts" in text
    assert "breaks half at ε = 1" in text
    assert "pgd100x2" not in text
    assert about(full, "model evasion").missing.endswith("--norm linf”.")
    trust = about(full, "strong enough")
    assert "2 passed, 0 failed, 1 not run" in trust.measured
    assert "1 of 2 results agree, on 8 samples" in trust.measured
    assert trust.missing == ""
    other = about(bare, "strong enough")
    assert other.measured == "not measured"
    assert "--checks" in other.missing
    assert "--crosscheck" in other.missing


def test_limits_are_the_worst_figures(full, bare):
    text = about(full, "limits of use").measured.replace("\u00a0", " ")
    assert "from ε = 1 (" in text, "0.4 is the first below half of 0.9"
    assert "bias field does most harm: 0.444 in the worst case" in text
    assert "the class with the lowest score is NORMAL: 0.750" in text
    assert "for the manufacturer to state" in about(full, "limits of use").missing
    assert "up to ε = 10 the score stays above half" in about(bare, "limits of use").measured.replace("\u00a0", " ")


def test_formal_properties_are_counterexamples_at_most(full, bare):
    """Nine samples are correct without attack, of which the last attack breaks seven."""
    stability = about(full, "Stability")
    assert stability.measured.startswith("Counterexamples for 7 of 9 correct predictions up to ε")
    assert stability.missing.startswith("Proofs: for the other 2 no counterexample was found, which is no proof.")
    assert about(bare, "Stability").measured.startswith(
        "No proof. The lowest Dice that was found, as a mean over scans, is 0.535"
    )
    for question in ("Formal methods", "Sensitivity", "Relevance", "Reachability", "poisoned", "penetration", "drift"):
        assert about(full, question).measured == "not measured"
    assert "Balls in the L2 norm around 10 SYNTHETIC samples" in about(full, "Domain").measured


def test_every_option_that_is_named_is_one_of_evaluate(bare):
    named = set(re.findall(r"--(\w+)", " ".join(answer.missing for answer in bare.values())))
    assert named >= {"groups", "group_by", "perturbation", "checks", "crosscheck", "norm"}
    assert named <= EvaluationSettings.model_fields.keys()


def test_without_a_clean_level_the_clean_score_is_not_measured(tmp_path):
    content = segmentation(levels=[2.0, 5.0, 10.0])
    answer = about(asked(tmp_path, content), "performance on test data")
    assert answer.measured == "not measured"
    assert "--levels that begin with 0" in answer.missing


def test_the_section_is_in_the_appendix_by_option_only(tmp_path):
    write(tmp_path, classification())
    results = [Results.read(tmp_path)]
    assert "For a submission file" not in [one.title for one in build_report(results).appendix.sections]
    page = build_report(results, submission=True)
    assert page.appendix.sections[0].title == "For a submission file"
    assert not page.open_appendix


@pytest.mark.parametrize("format", ["md", "html"])
def test_pages_name_the_documents_and_claim_nothing(tmp_path, format):
    write(tmp_path, classification())
    report(str(tmp_path), format=format, submission=True)
    text = (tmp_path / f"report.{format}").read_text(encoding="utf-8")
    for words in ("January 2025", "ISO/IEC TR 24029-1:2021", "ISO/IEC 24029-2:2023", "No claim of conformity"):
        assert words in text
    section = text[text.index("For a submission file") :] if format == "md" else text
    for claim in ("conforms", "complies", "compliant", "fulfils", "approved", "cleared"):
        assert claim not in section.lower()


def test_json_has_the_answers_by_document(tmp_path):
    write(tmp_path, segmentation())
    report(str(tmp_path), format="json", submission=True)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (model,) = content["submission"]
    assert [len(document["answers"]) for document in model["documents"]] == [9, 3, 5]
    assert set(model["documents"][0]["answers"][0]) == {"question", "measured", "missing"}


def test_the_command_of_the_howto_runs(tmp_path):
    (command,) = documented_commands(REPO / "docs" / "howto" / "submission.md")
    content = classification()
    write(tmp_path / "eval" / "robustness", content)
    shell(command, tmp_path)
    assert "For a submission file" in (tmp_path / "submission.html").read_text(encoding="utf-8")
