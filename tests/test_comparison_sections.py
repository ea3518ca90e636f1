"""The report's section on differences between models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_results import LEVELS, classification, segmentation, write

from monai_ima.cli.report import report
from monai_ima.report import build_report
from monai_ima.report.blocks import Note, Table, Text
from monai_ima.results import paired_differences
from monai_ima.results.schema import Results


def models(folder: Path, count: int = 2, patients: int = 12) -> list[Path]:
    """Results of classifiers of 12 samples: the first breaks at 0.5 throughout, the k-th other is broken k times."""
    folders = []
    for k in range(count):
        broken = [0.5] * 12 if k == 0 else [0.0] * k + [None] * (12 - k)
        content = classification(minimum=None)
        content["model"]["name"] = f"model {k}"
        content["data"] |= {"samples": 12, "patients": patients}
        content["samples"] = [
            {**content["samples"][1], "sample_id": f"s{n}", "patient": f"p{n % patients}", "distance": None}
            | {"broken_at": {"pgd100x2": None, "apgd100-dlr": eps}}
            for n, eps in enumerate(broken)
        ]
        folders.append(folder / f"m{k}")
        write(folders[-1], content)
    return folders


def section(folders: list[Path]) -> list:
    """The blocks of the section."""
    page = build_report([Results.read(folder) for folder in folders])
    (found,) = [one for one in page.sections if one.title == "Differences between the models"]
    return list(found.blocks)


def test_a_table_has_scores_difference_interval_and_p(tmp_path):
    """Without attack 12 of 12 against 11 of 12; under attack none against 11: 2 · 2^-11, times 4 levels by Holm."""
    (table, explained, holm, training) = section(models(tmp_path))
    assert isinstance(table, Table)
    assert table.caption == "Accuracy of model 1 minus that of model 0, with 95 % intervals"
    assert table.header[-5:] == ["model 0", "model 1", "difference", "p", "p by Holm"]
    assert [row[0] for row in table.rows] == ["0", "0.5", "1", "2"]
    clean, *attacked = (row[-5:] for row in table.rows)
    assert clean[:2] == ["1.000", "0.917"]
    assert clean[2].startswith("−0.083 [−0.")
    assert clean[3:] == ["1.000", "1.000"]
    for row in attacked:
        assert row[:2] == ["0.000", "0.917"]
        assert row[2].startswith("+0.917 [+0.")
        assert row[3:] == ["< 0.001", "0.004"]
    assert pytest.approx(0.00098, abs=1e-5) == 2 * 0.5**11
    assert "on the same 12 samples. Intervals are percentiles of 10,000 bootstrap draws of samples" in explained.text
    assert explained.text.endswith("p is two-sided, by exact McNemar.")
    assert "adjusted for all 4 comparisons" in holm.text
    assert "not two ways of training" in training.text


def test_every_other_model_is_compared_with_the_first_and_holm_counts_all(tmp_path):
    folders = models(tmp_path, 4)
    tables = [block for block in section(folders) if isinstance(block, Table)]
    assert [table.caption.split(",")[0] for table in tables] == [
        f"Accuracy of model {k} minus that of model 0" for k in (1, 2, 3)
    ]
    assert any("all 12 comparisons" in block.text for block in section(folders) if isinstance(block, Text))


def test_patients_are_named_and_too_few_of_them_get_no_interval(tmp_path):
    (table, explained, training) = section(models(tmp_path, patients=6))
    assert "on the same 12 samples of 6 patients. There are no intervals: 10 patients" in explained.text
    assert "two-sided" not in explained.text
    assert [row[-3:] for row in table.rows] == [["−0.083", "–", "–"], *[["+0.917", "–", "–"]] * 3]
    assert "another training run" in training.text


def test_models_that_cannot_be_compared_are_named_with_the_reason(tmp_path):
    folders = models(tmp_path, 2)
    write(tmp_path / "other", classification())
    blocks = section([*folders, tmp_path / "other"])
    notes = [block for block in blocks if isinstance(block, Note)]
    assert [note.heading for note in notes] == ["oct_classification_ima and model 0 have no paired difference"]
    assert notes[0].text.startswith("Sample 's10' is in ")
    assert "expected the same samples in both results (2 in all are in one of the two results alone)." in notes[0].text
    assert sum(isinstance(block, Table) for block in blocks) == 1, "the other one still is"
    alone = section([folders[0], tmp_path / "other"])
    assert [type(block) for block in alone] == [Note]


def test_a_reason_names_attacks_in_words(tmp_path):
    folders = models(tmp_path)
    content = json.loads((folders[1] / "results.json").read_text())
    write(folders[1], content | {"attacks": content["attacks"][:1]})
    (note,) = section(folders)
    assert "pgd" not in note.text
    assert "projected gradient descent, 100 steps, 2 restarts, expected the same." in note.text


def test_markdown_html_and_json_have_it(tmp_path):
    folders = models(tmp_path)
    names = ",".join(map(str, folders))
    for format in ("md", "html", "json"):
        report(names, out=str(tmp_path / f"page.{format}"), format=format)
    markdown = (tmp_path / "page.md").read_text()
    assert "## Differences between the models" in markdown
    assert "| ε | " in markdown
    assert "−0.083" in markdown
    html = (tmp_path / "page.html").read_text()
    assert 'id="differences"' in html
    assert "Accuracy of model 1 minus that of model 0" in html
    (found,) = json.loads((tmp_path / "page.json").read_text())["differences"]
    assert (found["first"], found["second"]) == ("model 0", "model 1")
    expected = paired_differences(*map(Results.read, folders))
    assert found["differences"] == [one.model_dump(mode="json") for one in expected]
    assert [one["level"] for one in found["differences"]] == LEVELS


def test_a_report_on_one_model_has_no_differences(tmp_path):
    write(tmp_path, segmentation())
    assert not [one for one in build_report([Results.read(tmp_path)]).sections if one.id == "differences"]
    report(str(tmp_path), format="json")
    assert json.loads((tmp_path / "report.json").read_text())["differences"] == []
