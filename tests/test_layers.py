"""The floor plan holds: import-linter's contracts, and what they refuse."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO

NO_ENGINE = ("methods", "margins", "attacks", "criteria", "losses", "perturbations")
LINT = "import sys; from importlinter.cli import lint_imports_command as lint; sys.exit(lint())"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts on the package in a folder."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, with a ``methods`` package in it."""
    pytest.importorskip("importlinter")
    shutil.copytree(REPO / "monai_ima", tmp_path / "monai_ima", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", tmp_path)
    (tmp_path / "monai_ima" / "methods").mkdir(exist_ok=True)
    (tmp_path / "monai_ima" / "methods" / "__init__.py").touch()
    return tmp_path


def test_the_arrows_point_down(package):
    found = lint_imports(package)
    assert found.returncode == 0, found.stdout
    assert "2 kept, 0 broken" in found.stdout


@pytest.mark.parametrize(
    ("importer", "line", "sentence"),
    [
        ("report/build.py", "import monai_ima.cli", "monai_ima.report is not allowed to import monai_ima.cli"),
        (
            "methods/__init__.py",
            "from ignite.engine import Engine",
            "monai_ima.methods is not allowed to import ignite",
        ),
        ("attacks/pgd.py", "import monai_ima.margins", "monai_ima.attacks is not allowed to import monai_ima.margins"),
        ("losses/ima.py", "import ignite.metrics", "monai_ima.losses is not allowed to import ignite"),
    ],
)
def test_an_arrow_upwards_is_refused(package, importer, line, sentence):
    with open(package / "monai_ima" / importer, "a") as file:
        file.write(f"\n{line}\n")
    found = lint_imports(package)
    assert found.returncode == 1
    assert sentence in found.stdout


def imported_modules(source: str) -> set[str]:
    """Names of the modules that a source imports, and of what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_methods_and_what_they_stand_on_do_not_import_monais_engines():
    """import-linter knows external packages by their first name only."""
    files = [file for part in NO_ENGINE for file in (REPO / "monai_ima" / part).glob("**/*.py")]
    assert [file for file in files if {"monai.engines", "ignite.engine"} & imported_modules(file.read_text())] == []
    assert {"monai.engines", "monai.engines.Trainer"} <= imported_modules("from monai.engines import Trainer")
    assert "monai.engines" in imported_modules("def f():\n    from monai import engines")
