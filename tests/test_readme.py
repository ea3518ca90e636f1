"""The commands that README.md shows are run as they stand there, on a copy of the bundles."""

from __future__ import annotations

import re
import shutil

import pytest
from conftest import REPO
from shell_commands import documented_commands, shell


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path):
    not_shipped = shutil.ignore_patterns("*_*.pt", "eval", "*_margins")
    shutil.copytree(REPO / "bundles", tmp_path / "bundles", ignore=not_shipped)
    commands = documented_commands(REPO / "README.md")
    assert len(commands) == 8
    for command in commands:
        shell(command, tmp_path)
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
