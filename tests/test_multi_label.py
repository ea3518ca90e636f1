"""Networks whose outputs are independent of each other: measured, attacked, reported on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from report_results import classification, write
from torch import nn
from wild_bundles import STYLES

from monai_ima.__main__ import main
from monai_ima.criteria import BinaryCriterion
from monai_ima.evaluation import evaluate
from monai_ima.evaluation.classification import ClassificationOutcome
from monai_ima.report import build_report
from monai_ima.report.markdown import markdown
from monai_ima.results.records import SampleRecord, tally
from monai_ima.results.schema import ClassificationResults, Results

SIGNALS = torch.tensor([[0.1, 0.9, -0.9], [-0.9, 0.3, 0.9], [0.9, -0.9, -0.3], [-0.8, -0.9, 0.9]])
"""Output k of :class:`Outputs` is value k, so |value k| is its distance to the boundary: at most one is below 0.5."""
LABELS = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]])
"""Of the last sample output 0 is wrong."""
NAMES = ["edema", "mass", "nodule"]


class Outputs(nn.Module):
    """Three outputs, each of which sees one value of the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.gain * image[:, 0]


def measured(out: Path, norm: str = "linf", **options) -> ClassificationResults:
    batch = {"image": SIGNALS.unsqueeze(1), "label": LABELS.float(), "sample_id": list("abcd")}
    results = evaluate(
        Outputs(), [batch], [0.2, 0.5], norm, "pgd20x1", out=out, criterion=BinaryCriterion(), classes=NAMES, **options
    )
    assert isinstance(results, ClassificationResults)
    return results


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_exact_match_and_each_label_are_the_closed_form(tmp_path, norm):
    results = measured(tmp_path, norm, minimum=True)
    right = (SIGNALS > 0) == (LABELS == 1)
    expected = torch.stack([right & ((SIGNALS.abs() > eps) | ~right.all(1, keepdim=True)) for eps in results.levels])
    assert results.levels == [0.0, 0.2, 0.5]
    assert results.accuracy == expected.all(2).double().mean(1).tolist() == [0.75, 0.5, 0.0]
    assert results.accuracy_by_class == {
        name: expected[:, :, k].double().mean(1).tolist() for k, name in enumerate(NAMES)
    }
    assert [sample.label for sample in results.samples] == LABELS.tolist()
    assert [sample.predicted for sample in results.samples] == (SIGNALS > 0).int().tolist()
    turned = [sample.noisy_predicted for sample in results.samples]
    assert turned == [[0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 1]], (
        "the nearest output of each, none of the misclassified"
    )
    distances = [sample.distance for sample in results.samples]
    assert distances == pytest.approx([0.1, 0.3, 0.3, 0.0], rel=0.02)
    assert Results.read(tmp_path).model_dump() == results.model_dump()


def test_an_unknown_label_counts_nowhere(tmp_path):
    """Sample a's first output, the nearest to its boundary, is unknown: its distance is that of the next, 0.9."""
    label = LABELS.float()
    label[0, 0], label[2] = torch.nan, torch.nan
    batch = {"image": SIGNALS.unsqueeze(1), "label": label, "sample_id": list("abcd")}
    results = evaluate(
        Outputs(), [batch], [0.2, 0.5], "linf", "pgd20x1", out=tmp_path, criterion=BinaryCriterion(), classes=NAMES
    )
    assert [sample.sample_id for sample in results.samples] == ["a", "b", "d"], "nothing is known of c"
    assert [sample.label for sample in results.samples] == [[None, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert results.accuracy == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert results.accuracy_by_class["edema"] == [0.5, 0.5, 0.5], "of b and d, whose output is wrong"
    assert results.accuracy_by_class["mass"] == pytest.approx([1, 1, 2 / 3])
    assert Results.read(tmp_path).model_dump() == results.model_dump()
    text = markdown(build_report([Results.read(tmp_path)]))
    assert "Errors by label" in text


def test_pictures_name_the_labels_that_are_positive(tmp_path):
    results = measured(tmp_path)
    assert {case.sample_id: case.summary for case in results.cases} == {
        "a": "label edema, mass, predicted edema, mass, under attack mass",
        "b": "label mass, nodule, predicted mass, nodule, under attack nodule",
        "c": "label edema, predicted edema, under attack edema, nodule",
    }
    assert (tmp_path / "examples.png").is_file()


def test_a_prediction_without_any_label_is_said(tmp_path):
    batch = {"image": torch.tensor([[[0.1, -0.9, -0.9]]]), "label": torch.tensor([[1.0, 0, 0]]), "sample_id": ["x"]}
    results = evaluate(Outputs(), [batch], [0.2], "linf", "pgd20x1", cases=1, out=tmp_path, criterion=BinaryCriterion())
    assert results.classes == ["0", "1", "2"]
    assert [case.summary for case in results.cases] == ["label 0, predicted 0, under attack no label"]


def test_the_report_has_a_table_of_each_label(tmp_path):
    measured(tmp_path)
    text = markdown(build_report([Results.read(tmp_path)]))
    assert "By label" in text
    assert "By class" not in text
    assert "Outputs is right in every label on 75 % of the samples, measured on 4 samples." in text
    assert "Exact-match accuracy under the strongest attack" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    errors = {row[0]: row[1:] for row in rows if row[0] in NAMES}
    assert errors == {
        "edema": ["3", "1", "0", "2", "0"],
        "mass": ["2", "0", "0", "1", "0"],
        "nodule": ["2", "0", "0", "0", "1"],
    }, "samples with it; missed and false alarms, clean and at ε = 0.5"


def test_the_checks_for_gradient_masking_pass_on_an_honest_network(tmp_path):
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    image = torch.randn(20, 1, 16, generator=draw)
    label = (network(image) > 0).float()
    batch = {"image": image, "label": label, "sample_id": [f"{k}" for k in range(20)]}
    results = evaluate(
        network, [batch], [0.1], "linf", "pgd20x1", out=tmp_path, criterion=BinaryCriterion(), checks=True
    )
    assert results.accuracy[0] == 1
    assert tally(results.checks or []) == "10 passed, 0 failed, 1 not run"
    assert [check.name for check in results.checks or () if check.status == "not run"] == ["transfer"]


def test_independent_verification_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="has sigmoid outputs, expected classes of which one is correct for --crossch"):
        measured(tmp_path / "out", crosscheck=True)
    assert not (tmp_path / "out").exists()


def test_a_single_logit_has_classes():
    record = SampleRecord(sample_id="a", label=0, predicted=0, broken_at={"pgd10": 0.5}, noisy_predicted=1)
    outcome = ClassificationOutcome([0.0, 0.5], ["pgd10"], [record])
    assert not outcome.multi_label
    assert (record.predicted_at(0.0), record.predicted_at(0.5)) == (0, 1)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1], r"samples\[0\].label in .* is \[0, 1\], expected 3 entries, one for each of classes"),
        ([0, 2, 0], r"samples\[0\].label in .* is \[0, 2, 0\], expected 0 or 1 for each of the independent outputs"),
        ("1", r"samples\[0\].label in .* is '1', expected a class index, or a list with 0 or 1"),
    ],
)
def test_wrong_labels_in_results_are_refused(tmp_path, label, message):
    content = classification()
    content["samples"][0]["label"] = label
    with pytest.raises(ValueError, match=message):
        Results.read(write(tmp_path, content))


def test_a_bundle_is_evaluated_and_attacked(tmp_path, capsys):
    STYLES["multi_label"](tmp_path)
    torch.manual_seed(0)
    items = [(torch.full((1, 8, 8), k / 8), [float(k > 3), k % 2]) for k in range(8)]
    assert main(["harden", "--bundle", str(tmp_path), "--dry_run"]) == 0
    overlay = json.loads("{" + capsys.readouterr().out.split("\n{", 1)[1])
    assert overlay["harden"]["criterion"] == {"_target_": "monai_ima.criteria.BinaryCriterion"}
    from monai.networks.nets import Regressor

    network = Regressor(in_shape=[1, 8, 8], out_shape=[2], channels=[4], strides=[2])
    (tmp_path / "models").mkdir()
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    with torch.no_grad():
        found = [(network.eval()(image[None])[0] > 0).tolist() for image, _ in items]
    common = ["--bundle", str(tmp_path), "--attack", "pgd2x1"]
    assert main(["evaluate", *common, "--levels", "0,0.1", "--out", str(tmp_path / "r")]) == 0, capsys.readouterr().err
    results = Results.read(tmp_path / "r")
    pairs = list(zip(found, (label for _, label in items), strict=True))
    assert results.accuracy[0] == sum(output == label for output, label in pairs) / 8
    assert [results.accuracy_by_class[f"{k}"][0] for k in range(2)] == [
        sum(output[k] == label[k] for output, label in pairs) / 8 for k in range(2)
    ]
    header, clean, *_ = csv.reader((tmp_path / "r" / "results.csv").open())
    assert header[4:] == ["accuracy", "low", "high", "0", "1"]
    assert float(clean[4]) == results.accuracy[0]
    assert main(["attack", *common, "--eps", "0.1", "--out", str(tmp_path / "a")]) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "a").glob("*_noisy.png"))) == 8
