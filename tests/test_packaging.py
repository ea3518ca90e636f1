"""What pyproject.toml, the constraint files, CITATION.cff and CONTRIBUTING.md say fits together."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import metadata

import pytest
import yaml
from conftest import REPO
from packaging.requirements import Requirement

import monai_ima

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


def test_the_metadata_say_who_what_and_where():
    about = metadata("monai-ima")
    assert about["Author"] == "The monai_ima developers"
    assert about["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert (REPO / "monai_ima" / "py.typed").is_file()
    urls = dict(url.split(", ", 1) for url in about.get_all("Project-URL"))
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert urls["Paper"] == citation["references"][0]["url"]


def test_the_package_has_the_version_of_the_project():
    """Where another version is installed: `make .venv/.installed`."""
    assert monai_ima.__version__ == PROJECT["version"]


def test_the_source_distribution_holds_every_file_of_the_repository(tmp_path):
    """So its tests run from it: they read bundles, documents, benchmarks and the files beside the package."""
    if not (REPO / ".git").exists():
        pytest.skip("this is no git checkout: nothing says which files are the repository's")
    git = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True)
    tracked = {name for name in git.stdout.splitlines() if (REPO / name).is_file()}
    tree = tmp_path / "tree"
    for name in tracked:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((REPO / name).read_bytes())
    made_there = tree / "bundles" / "oct_classification_ima" / "models" / "model_last.pt"
    made_there.touch()
    build = "from setuptools.build_meta import build_sdist; build_sdist('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (archive,) = (tree / "dist").glob("monai_ima-*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames() if packed.getmember(name).isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or name.startswith("monai_ima.egg-info/")}
    assert names - made == tracked
