"""``benchmarks/demo.py``, made tiny: one report on both networks, from runs side by side."""

from __future__ import annotations

import csv
import json
import logging
from functools import partial
from pathlib import Path
from threading import Lock

import pytest

import demo
from monai_ima.attacks import MinimumNorm
from monai_ima.evaluation import classification_task, gradient_masking


@pytest.fixture
def tiny(monkeypatch):
    """The demo with few scans and steps, its processes played by this one; the calls are noted."""
    monkeypatch.setattr(demo, "DATA", {"image_size": 40, "phantom_per_class": {"train": 4, "val": 2, "test": 3}})
    monkeypatch.setattr(demo, "NETWORK", {"network_def#channels": [2, 2, 2, 2], "network_def#blocks": [1, 1, 1, 1]})
    monkeypatch.setattr(demo, "TRAINING", {**demo.TRAINING, "epochs": 2, "val_interval": 2})
    monkeypatch.setattr(demo, "IMA", {**demo.IMA, "train#handlers#0#start_epoch": 1})
    monkeypatch.setattr(demo, "ATTACK", "pgd2")
    monkeypatch.setattr(gradient_masking, "STEPS", (1, 2, 3, 4))
    monkeypatch.setattr(gradient_masking, "RESTARTS", (1, 2, 3))
    monkeypatch.setattr(classification_task, "MinimumNorm", partial(MinimumNorm, steps=2, rounds=1))
    calls, lock = [], Lock()

    def run_one(script, arguments, log, threads, check):
        with lock:
            calls.append((*arguments[:1], *arguments[2:], threads))
            demo.one(*map(str, arguments))
        return 0

    monkeypatch.setattr(demo, "run_one", run_one)
    yield calls
    logging.disable(logging.NOTSET)


def test_both_networks_are_trained_before_they_are_evaluated_and_come_into_one_report(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    demo.main(str(out), seed=3)
    assert {call[0] for call in tiny[:2]} == {"training"}
    assert {call[0] for call in tiny[2:]} == {"attacks", "perturbations"}
    assert sorted(call[1:] for call in tiny) == sorted([("plain", 3, "all", 1), ("ima", 3, "all", 1)] * 3)
    printed = capsys.readouterr().out
    with open(out / "table.csv", encoding="utf-8") as file:
        rows = {name: values for name, *values in csv.reader(file)}
    for name in ("plain", "ima"):
        found = json.loads((out / name / "robustness" / "results.json").read_text())
        assert found["attacks"][-1]["name"] == "minimum"
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


def test_a_folder_with_files_is_refused_before_anything_runs(tiny, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        demo.main(str(tmp_path))
    assert stop.value.code == 2
    assert f"Folder {tmp_path} is not empty" in capsys.readouterr().err
    assert tiny == []
    assert [file.name for file in Path(tmp_path).iterdir()] == ["file"]


def test_a_process_that_fails_ends_the_demo_with_the_place_of_its_log(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "run_one", lambda *_, **__: 1)
    with pytest.raises(SystemExit, match=r"training failed, see .*training_ima\.log"):
        demo.main(str(tmp_path / "out"))
