"""``benchmarks/two_processes.py``: its ratios, and that its two processes evaluate what one does."""

from __future__ import annotations

import pytest
from study_runs import refusal, table_rows

import two_processes
from two_processes import Run


def test_ratios_are_of_paired_runs(tmp_path, monkeypatch):
    seconds = {1: [(20.0, 30.0), (22.0, 30.0), (30.0, 36.0)], 2: [(10.0, 20.0), (12.5, 25.0), (15.0, 24.0)]}
    order = []

    def measured(processes, samples, steps):
        order.append(processes)
        return Run(*seconds[processes][order.count(processes) - 1], [])

    monkeypatch.setattr(two_processes, "measured", measured)
    two_processes.main(["--samples", "1000", "--pages", str(tmp_path)])
    assert order == [1, 2, 2, 1, 1, 2]
    rows = table_rows((tmp_path / "two_processes.md").read_text())
    assert rows["evaluation"] == ["22.0 s, 45.5 a second", "12.5 s, 80.0 a second", "2.000 (1.760 to 2.000)"]
    assert rows["whole command, with start-up"][-1] == "1.500 (1.200 to 1.500)"


def test_other_results_of_two_processes_are_no_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(two_processes, "measured", lambda processes, *_: Run(1.0, 1.0, [processes]))
    said = refusal(two_processes.main, capsys, ["--rounds", "1", "--pages", str(tmp_path)])
    assert said == "One process and two gave different results, expected the same."
    assert not list(tmp_path.iterdir())
    assert refusal(two_processes.main, capsys, ["--rounds", "0"]).startswith("argument --rounds: got '0'")


@pytest.mark.slow
@pytest.mark.usefixtures("warm_starts")
def test_two_processes_share_the_samples_and_none_is_broken():
    alone, shared = (two_processes.measured(processes, 100, 2) for processes in (1, 2))
    assert alone.results == shared.results
    assert len(alone.results) == 100
    for run in (alone, shared):
        assert 0 < run.evaluation < run.command
