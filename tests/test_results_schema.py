"""``results.json``: written and read by one class, its JSON schema in docs/."""

from __future__ import annotations

import ast
import json

import pytest
from conftest import REPO
from pydantic.version import version_short
from report_results import classification, segmentation, write

from monai_ima.results.schema import Results, json_schema

PYDANTIC = tuple(map(int, version_short().split(".")))


@pytest.mark.parametrize("content", [classification(), segmentation()])
def test_what_is_read_is_written_again(tmp_path, content):
    results = Results.read(write(tmp_path / "a", content))
    (tmp_path / "b").mkdir()
    file = results.write(tmp_path / "b")
    assert json.loads(file.read_text()) == content
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["results.json"]


@pytest.mark.skipif(PYDANTIC < (2, 10), reason="pydantic before 2.10 writes the same schema in other words")
def test_the_schema_in_the_documentation_is_that_of_the_models():
    shown = (REPO / "docs" / "results_schema.json").read_text(encoding="utf-8")
    command = "from monai_ima.results.schema import json_schema; print(json_schema(), end='')"
    assert json.loads(shown) == json.loads(json_schema()), f'run python -c "{command}" > docs/results_schema.json'


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("results", {"results", "attacks", "criteria", "perturbations", "utils"}),
        ("report", {"report", "results", "margins", "visualize", "utils"}),
    ],
)
def test_the_layers_below_know_nothing_of_those_above(folder, allowed):
    for file in (REPO / "monai_ima" / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("monai_ima."):
                assert node.module.split(".")[1] in allowed, f"{file}: {node.module}"
