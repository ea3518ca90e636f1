"""``benchmarks/faults.py``: a short version of it, and that it can find a loss."""

from __future__ import annotations

import random
import sys

import pytest
import torch
from study_runs import refusal, table_rows

import faults


@pytest.mark.slow
def test_a_killed_training_is_resumed_without_a_loss(tmp_path):
    faults.main(["--scenarios", "ecg", "--trials", "2", "--out", str(tmp_path / "runs"), "--pages", str(tmp_path)])
    (row,) = [cells for title, cells in table_rows((tmp_path / "faults.md").read_text()).items() if "ecg" in title]
    assert row[0] == "2"
    assert row[2] == "last weights 2; margins 2; best score 2; best weights 2"


def test_equal_means_bit_for_bit():
    one = {"a": [torch.tensor([1.0, 2.0]), 3], "b": None}
    assert faults.equal(one, {"a": [torch.tensor([1.0, 2.0]), 3], "b": None})
    nearly = torch.nextafter(torch.tensor([1.0, 2.0]), torch.tensor(3.0))
    for other in ({"a": [nearly, 3], "b": None}, {"a": [torch.tensor([1.0, 2.0]), 4], "b": None}, {"a": one["a"]}):
        assert not faults.equal(one, other)


WRITER = "import pathlib, sys, time; file = pathlib.Path(sys.argv[1]); {write}; time.sleep({rest})"


def scenario(write: str, resumed: str) -> faults.Scenario:
    """A program that writes a file and lingers; resumed it writes the same, or not."""

    def command(folder, resume):
        body = WRITER.format(write=resumed if resume else write, rest=0 if resume else 3)
        return [sys.executable, "-c", body, str(folder / "file")]

    return faults.Scenario("own", lambda folder: None, command, lambda folder: {"file": (folder / "file").read_text()})


@pytest.mark.parametrize(("resumed", "count"), [("file.write_text('whole')", 2), ("file.write_text('other')", 0)])
def test_a_loss_is_found(resumed, count, tmp_path, monkeypatch):
    monkeypatch.setitem(faults.SCENARIOS, "own", scenario("file.write_text('whole')", resumed))
    monkeypatch.setattr(faults, "written", lambda *arguments: None)
    monkeypatch.setattr(random.Random, "uniform", lambda self, low, high: 0.0)
    assert faults.measure("own", 2, tmp_path, 0)[1:] == ["2", "2", f"file {count}"]


def test_bad_use_is_refused_in_one_line(capsys):
    assert refusal(faults.main, capsys, ["--trials", "0"]).startswith("argument --trials")
    assert "Got scenario 'none', expected some of ecg" in refusal(faults.main, capsys, ["--scenarios", "none"])
