"""``benchmarks/faults.py``: a short version of it, and that it can find a loss."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from study_runs import refusal, table_rows

import faults


def folders(root: Path) -> list[str]:
    """Options that keep everything below a folder."""
    return ["--out", str(root / "runs"), "--pages", str(root), "--records", str(root / "records")]


@pytest.mark.slow
@pytest.mark.usefixtures("warm_starts")
def test_a_killed_training_is_resumed_without_a_loss(tmp_path):
    faults.main(["--scenarios", "ecg", "--trials", "1", *folders(tmp_path)])
    (row,) = [cells for title, cells in table_rows((tmp_path / "faults.md").read_text()).items() if "ecg" in title]
    trials, killed, equal = row[0], int(row[1]), row[2]
    assert killed == 1
    assert equal == f"last weights {trials}; margins {trials}; best score {trials}; best weights {trials}"


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
        body = WRITER.format(write=resumed if resume else write, rest=0 if resume else 0.5)
        return [sys.executable, "-c", body, str(folder / "file")]

    return faults.Scenario("own", lambda folder: None, command, lambda folder: {"file": (folder / "file").read_text()})


@pytest.mark.parametrize(("resumed", "count"), [("file.write_text('whole')", 2), ("file.write_text('other')", 0)])
def test_a_loss_is_found(resumed, count, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(faults.SCENARIOS, "own", scenario("file.write_text('whole')", resumed))
    monkeypatch.setattr(faults, "written", lambda *arguments: None)
    monkeypatch.setattr(random.Random, "uniform", lambda self, low, high: 0.0)
    words = ["--scenarios", "own", *folders(tmp_path)]
    if count == 2:
        faults.main([*words, "--trials", "2"])
    else:
        with pytest.raises(SystemExit) as stop:
            faults.main([*words, "--trials", "2"])
        assert stop.value.code == 1
        assert "Not equal to the unbroken run: own." in capsys.readouterr().err
    row = table_rows((tmp_path / "faults.md").read_text())["own"]
    assert row[:3] == ["2", "2", f"file {count}"]


def test_trials_that_are_on_record_are_not_run_again(tmp_path, monkeypatch, capsys):
    """A study that was broken off after two trials and goes on equals one of three."""
    monkeypatch.setitem(faults.SCENARIOS, "own", scenario("file.write_text('whole')", "file.write_text('whole')"))
    monkeypatch.setattr(faults, "written", lambda *arguments: None)
    moments = []
    monkeypatch.setattr(random.Random, "uniform", lambda self, low, high: moments.append(self.random()) or 0.0)
    for name, numbers in (("whole", (3,)), ("broken", (2, 3, 3))):
        moments.clear()
        for trials in numbers:
            faults.main(["--scenarios", "own", "--trials", str(trials), *folders(tmp_path / name)])
        (tmp_path / f"{name}.txt").write_text(str(moments))
    assert (tmp_path / "whole.txt").read_text() == (tmp_path / "broken.txt").read_text()
    records = [
        json.loads((tmp_path / name / "records" / "faults" / "own.json").read_text()) for name in ("whole", "broken")
    ]
    assert records[0] == records[1]
    assert records[0]["killed"] == [True] * 3
    error = refusal(faults.main, capsys, ["--scenarios", "own", "--seed", "1", *folders(tmp_path / "whole")])
    assert "is of --seed 0, expected 1: move it away" in error


def test_bad_use_is_refused_in_one_line(capsys):
    assert refusal(faults.main, capsys, ["--trials", "0"]).startswith("argument --trials")
    assert "Got scenario 'none', expected some of ecg" in refusal(faults.main, capsys, ["--scenarios", "none"])
