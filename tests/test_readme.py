"""The commands that README.md shows are run as they stand there, on a copy of the bundles: their figures make sense."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from bundle_runs import read_rows
from conftest import REPO
from shell_commands import documented_commands, shell


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """The folder, and what the commands on each of the two bundles print; the bundles' are run beside each other."""
    folder = tmp_path_factory.mktemp("readme")
    not_shipped = shutil.ignore_patterns("*_*.pt", "eval", "*_margins")
    shutil.copytree(REPO / "bundles", folder / "bundles", ignore=not_shipped)
    commands = documented_commands(REPO / "README.md")
    assert len(commands) == 9
    bundles = ("oct_classification_ima", "hippocampus_segmentation_ima")
    parts = [[command for command in commands if bundle in command] for bundle in bundles]
    assert sum(map(len, parts)) == len(commands)
    with ThreadPoolExecutor(len(parts)) as pool:
        printed = pool.map(lambda part: [shell(command, folder) for command in part], parts)
        return folder / "bundles", dict(zip(("oct", "hippocampus"), map("\n".join, printed), strict=True))


def curve(printed: str) -> dict[float, float]:
    """Accuracy or Dice by ε, as ``evaluate`` prints them: a header, a row of n, a row for each ε."""
    found = re.search(r"^ *(epsilon  .*)\n +n .*\n((?: +[0-9.]+ +[0-9.]+.*\n)+)", printed, re.MULTILINE)
    assert found is not None, printed
    header = re.split(r" {2,}", found[1].strip())
    (column,) = [k for k, name in enumerate(header) if name in ("accuracy", "Dice")]
    rows = [line.split() for line in found[2].splitlines()]
    return {float(row[0]): float(row[column]) for row in rows}


def kept_in_epoch(printed: str) -> int:
    """The epoch whose weights a training has kept."""
    return int(re.findall(r"Epoch ([0-9]+): val_robust_\w+ [0-9.]+ is the best so far", printed)[-1])


@pytest.mark.slow
def test_the_quick_classification_is_better_than_chance_and_falls_with_epsilon(readme):
    folder, printed = readme
    accuracy = curve(printed["oct"])
    assert list(accuracy) == [0, 0.005, 0.01]
    assert accuracy[0] > 0.35, "a quarter by chance"
    assert accuracy[0] > accuracy[0.005] > accuracy[0.01]
    root = folder / "oct_classification_ima"
    assert sorted(p.name for p in (root / "eval" / "robustness").glob("results.*")) == ["results.csv", "results.json"]
    assert (root / "eval" / "robustness" / "report.html").read_text().count("<svg") > 2
    rows = read_rows(root / "eval" / "predictions.csv")
    assert f"Class probabilities of {len(rows)} samples written to " in printed["oct"]
    assert kept_in_epoch(printed["oct"]) > 6, "the weights that are measured are of IMA, not of the plain start"
    right = sum(row["sample_id"].split("/")[1] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(accuracy[0], abs=5e-4), "inference uses the same weights and scans"


@pytest.mark.slow
def test_the_quick_run_finds_margins_that_tell_samples_apart(readme):
    folder, printed = readme
    assert "is not small beside eps_max" not in printed["oct"]
    table = folder / "oct_classification_ima" / "models" / "model_last_margins"
    margins = [float(row["margin"]) for row in read_rows(table / "margins.csv")]
    assert len(margins) == 96
    assert len(set(margins)) > 20
    quantile = {name: float(value) for name, value in re.findall(r"quantile ([0-9.]+) +([0-9.e-]+)", printed["oct"])}
    assert 0.003 <= quantile["0.05"] < quantile["0.5"] < quantile["0.95"] <= 0.03
    at_most = re.search(r"share at eps_max +([0-9.e-]+)", printed["oct"])
    assert at_most is not None
    assert float(at_most[1]) < 0.2
    assert (table / "margins.png").is_file()


@pytest.mark.slow
def test_the_quick_segmentation_outlines_the_phantom_and_dice_falls_with_epsilon(readme):
    folder, printed = readme
    dice = curve(printed["hippocampus"])
    assert list(dice) == [0, 5, 10]
    assert dice[0] > 0.5
    assert dice[0] > dice[5] > dice[10] > 0
    root = folder / "hippocampus_segmentation_ima"
    shipped = REPO / "bundles" / root.name / "models" / "model.pt"
    assert (root / "models" / "model.pt").read_bytes() == shipped.read_bytes(), "shipped weights stay"
    assert len(list((root / "eval").glob("*_seg.nii.gz"))) == 5
    assert len(re.findall(r"writing: .*_seg\.nii\.gz", printed["hippocampus"])) == 5, (
        "inference says where its predictions are"
    )
    assert kept_in_epoch(printed["hippocampus"]) > 10, (
        "the weights that are measured are of IMA, not of the plain start"
    )
    assert (root / "eval" / "robustness" / "scan.png").is_file()
    assert len(list((root / "eval" / "attack").glob("*_noisy.nii.gz"))) > 0


def test_every_file_that_the_documents_link_to_exists():
    for document in [REPO / "README.md", *(REPO / "docs").rglob("*.md"), *(REPO / "bundles").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"
