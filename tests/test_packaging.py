"""What pyproject.toml, the constraint files, CITATION.cff and CONTRIBUTING.md say fits together."""

from __future__ import annotations

import re
import tomllib

import yaml
from conftest import REPO
from packaging.requirements import Requirement

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
TOOLS = {"ruff", "mypy", "import-linter"}
"""Of the extra ``dev``, run by ``make lint`` only: in one version."""


def pins(name: str) -> dict[str, str]:
    """Versions by package in a constraint file."""
    lines = (line for line in (REPO / name).read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def lower_bounds() -> dict[str, str]:
    """The oldest version that pyproject.toml takes of every package that the tests need."""
    extras = PROJECT["optional-dependencies"]
    found = [Requirement(text) for text in (*PROJECT["dependencies"], *extras["dev"], *extras["ecg"])]
    own = TOOLS | {PROJECT["name"]}
    return {
        r.name: next((s.version for s in r.specifier if s.operator == ">="), "") for r in found if r.name not in own
    }


def test_the_lowest_versions_are_the_lower_bounds():
    assert pins("constraints-lowest.txt") == lower_bounds()


def test_the_linters_have_one_version():
    assert set(pins("constraints.txt")) >= TOOLS


def test_pre_commit_runs_the_linters_of_the_environment():
    hooks = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy", "import-linter"}
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].startswith((".venv/bin/", "make types"))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["authors"] == [{"name": "The monai_ima developers"}]
    assert "arXiv:2005.09147" in str(citation["references"])


def test_contributing_names_files_that_exist():
    text = (REPO / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|toml|txt|cff))`", text))
    assert len(named) > 20
    roots = [REPO, REPO / "monai_ima", REPO / "bundles" / "oct_classification_ima"]
    missing = {name for name in named if "NAME" not in name and not any((root / name).exists() for root in roots)}
    assert missing == set()
