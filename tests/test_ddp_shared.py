"""Hardened training in two processes: margin passes and robust validation are shared, results are those of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, run_torchrun
from ddp_shared import EPOCHS, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[list[dict[str, Any]], Path]:
    """What each of two processes has found, and where they wrote."""
    out = tmp_path_factory.mktemp("two")
    done = run_torchrun(29653, REPO / "tests" / "ddp_shared.py", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank{k}.json").read_text()) for k in range(2)], out


def assert_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Weights and margins are equal but for rounding: gradients are added up in another order."""
    assert ours["weights"] == pytest.approx(theirs["weights"], abs=1e-5)
    assert ours["margins"] == pytest.approx(theirs["margins"], abs=1e-3)
    assert len(set(theirs["margins"].values())) > 12


def test_two_processes_find_the_margins_weights_and_robust_metric_of_one(two, tmp_path):
    (first, second), out = two
    alone = train(tmp_path / "weights", 1)
    ours, theirs = first["monai"], second["monai"]
    for name in ("weights", "margins", "metrics", "best"):
        assert ours[name] == theirs[name], name
    assert_close(ours, alone)
    assert ours["best"] == alone["best"]
    assert 0 < ours["best"][0] < 1
    assert ours["metrics"] == pytest.approx(alone["metrics"], abs=1e-4)
    files = [sorted(file.name for file in (folder / "weights").iterdir()) for folder in (out, tmp_path)]
    assert files[0] == files[1] == ["model.pt", "model_margins.pt"]


def test_each_process_attacks_its_half_in_margin_pass_and_robust_validation(two):
    counts = [results["monai"]["attacked"] for results in two[0]]
    assert [count["margin"] for count in counts] == [12 * (EPOCHS + 1)] * 2, "a first pass, and one after each epoch"
    assert sorted(count["validation"] for count in counts) == [10 * EPOCHS, 11 * EPOCHS]


def test_the_lightning_module_of_the_page_trains_in_two_processes_as_the_handler_does(two):
    pytest.importorskip("lightning")
    (first, second), _ = two
    assert first["lightning"] == second["lightning"]
    assert_close(first["lightning"], first["monai"])
