"""The commands that README.md shows are run as they stand there, on a copy of the bundles."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO


def commands_shown() -> list[str]:
    blocks = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path):
    not_shipped = shutil.ignore_patterns("*_*.pt", "eval", "*_margins")
    shutil.copytree(REPO / "bundles", tmp_path / "bundles", ignore=not_shipped)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = commands_shown()
    assert len(commands) == 8
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    root = tmp_path / "bundles" / "oct_classification_ima"
    assert sorted(p.name for p in (root / "eval" / "robustness").glob("results.*")) == ["results.csv", "results.json"]
    assert (root / "models" / "model_last_margins" / "margins.png").is_file()
    assert (root / "eval" / "predictions.csv").is_file()
    assert (root / "eval" / "robustness" / "report.html").read_text().count("<svg") > 2
    root = tmp_path / "bundles" / "hippocampus_segmentation_ima" / "eval"
    assert len(list(root.glob("*_seg.nii.gz"))) > 0
    assert (root / "robustness" / "scan.png").is_file()
    assert len(list((root / "attack").glob("*_noisy.nii.gz"))) > 0


def test_every_file_that_the_documents_link_to_exists():
    for document in [REPO / "README.md", *(REPO / "docs").rglob("*.md"), *(REPO / "bundles").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"
