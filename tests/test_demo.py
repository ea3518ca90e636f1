"""``monai-ima demo``, made tiny: one report on both networks, from runs side by side."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Lock

import pytest

from monai_ima.__main__ import main
from monai_ima.attacks import MinimumNorm
from monai_ima.cli import demo_run
from monai_ima.cli.demo_run import Size
from monai_ima.evaluation import classification_task, gradient_masking

SCANS = {"train": 4, "val": 2, "test": 3}


@pytest.fixture
def tiny(monkeypatch):
    """The demo with few scans and steps, its processes played by this one; the calls are noted."""
    monkeypatch.setattr(demo_run, "FULL", Size(40, SCANS, epochs=2, val_interval=2, attack="pgd2", thorough=True))
    monkeypatch.setattr(demo_run, "NETWORK", {"network_def#channels": [2] * 4, "network_def#blocks": [1] * 4})
    monkeypatch.setattr(gradient_masking, "STEPS", (1, 2, 3, 4))
    monkeypatch.setattr(gradient_masking, "RESTARTS", (1, 2, 3))
    monkeypatch.setattr(classification_task, "MinimumNorm", partial(MinimumNorm, steps=2, rounds=1))
    calls, lock = [], Lock()

    def run_process(stages, name, demo, log, stopped):
        with lock:
            calls.append((",".join(stages), name))
            for stage in stages:
                demo_run.STAGES[stage](demo, name)
        return 0

    monkeypatch.setattr(demo_run, "_processes", lambda: None)
    monkeypatch.setattr(demo_run, "run_process", run_process)
    yield calls
    logging.disable(logging.NOTSET)


def test_both_networks_are_trained_before_they_are_evaluated_and_come_into_one_report(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out), "--seed", "3"]) == 0
    assert {call[0] for call in tiny[:2]} == {"training"}
    assert {call[0] for call in tiny[2:]} == {"attacks", "perturbations"}
    assert sorted(call[1] for call in tiny) == ["ima"] * 3 + ["plain"] * 3
    printed = capsys.readouterr().out
    with open(out / "table.csv", encoding="utf-8") as file:
        rows = {name: values for name, *values in csv.reader(file)}
    for name in ("plain", "ima"):
        found = json.loads((out / name / "robustness" / "results.json").read_text())
        assert found["attacks"][-1]["name"] == "minimum"
        assert found["command"] == "monai-ima demo --seed 3"
        assert len(found["samples"]) == 12
        assert found["settings"]["training"]["seed"] == 3
        assert [float(value) for value in rows[name]] == found["attacks"][-1]["values"]
        assert f"{name:10}" + "".join(f"{float(value):>8.3f}" for value in rows[name]) in printed
        assert [one["name"] for one in found["perturbations"]] == ["speckle", "bias_field", "gamma"]
        pictures = [one["case"]["picture"] for one in found["perturbations"]]
        assert all((out / name / "robustness" / picture).is_file() for picture in pictures)
    assert "Checks for gradient masking: " in printed
    page = (out / "report.html").read_text(encoding="utf-8")
    for heading in ("Noise that scanners make", "plain training", "Margins"):
        assert heading in page


def test_the_settings_are_those_that_the_figures_in_the_readme_come_from():
    demo = demo_run.Demo(Path("out"))
    assert demo.size == Size(64, {"train": 225, "val": 30, "test": 25}, 18, 6, "pgd100x2", True)
    plain, ima = demo.settings("plain"), demo.settings("ima")
    assert {key: plain[key] for key in ("seed", "batch_size", "learning_rate", "epochs", "val_interval")} == {
        "seed": 0, "batch_size": 24, "learning_rate": 0.003, "epochs": 18, "val_interval": 6,
    }  # fmt: skip
    assert {key: value for key, value in ima.items() if key not in plain} == {
        "norm": "linf", "eps_max": 0.02, "delta": 0.0025, "beta": 0.5, "steps": 7, "update": "online", "val_eps": 0.01,
        "val_steps": 10, "train#handlers#0#start_epoch": 9, "train#handlers#0#noisy_samples": "all",
    }  # fmt: skip


def test_a_folder_with_files_is_refused_before_anything_runs(tiny, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert f"Folder {tmp_path} is not empty" in capsys.readouterr().err
    assert tiny == []
    assert [file.name for file in Path(tmp_path).iterdir()] == ["file"]


def test_a_process_that_fails_ends_the_demo_with_the_place_of_its_log(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_run, "_processes", lambda: None)
    monkeypatch.setattr(demo_run, "run_process", lambda *_: 1)
    with pytest.raises(SystemExit, match=r"training failed, see .*training_ima\.log"):
        main(["demo", "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("begun", [False, True], ids=["while the processes start", "while networks are trained"])
def test_ctrl_c_ends_all_processes_with_one_line(begun, tmp_path):
    """As a terminal sends it: to the whole group of processes."""
    out = tmp_path / "out"
    words = [sys.executable, "-u", "-m", "monai_ima", "demo", "--quick", "--out", str(out)]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_ctrl_c_as_in_a_terminal,
    ) as process:
        assert process.stdout is not None
        while "Both networks side by side" not in process.stdout.readline():
            assert process.poll() is None
        deadline = time.monotonic() + 60
        while begun and not [log for log in out.glob("*.log") if log.stat().st_size]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == (
        "Interrupted. It starts afresh: give another --out, or empty the folder if there are files in it."
    )
    assert _ended(process.pid), "no process of the demo goes on"


def _ended(group: int) -> bool:
    """Whether no process of a group is left after ten seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def _ctrl_c_as_in_a_terminal() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_settings_of_another_kind_are_refused(capsys, tmp_path):
    assert main(["demo", "--out", str(tmp_path / "out"), "--noisy_samples", "some"]) == 2
    assert "Unknown noisy_samples 'some'" in capsys.readouterr().err
    assert main(["demo", "--out", str(tmp_path / "out"), "--seed", "-1"]) == 2
    assert not (tmp_path / "out").exists()
