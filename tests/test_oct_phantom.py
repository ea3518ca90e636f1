from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPO
from PIL import Image

from monai_ima.data import CLASSES, kermany_datalist, oct_datalist, oct_phantom, write_oct_phantom


def test_a_scan_is_given_by_its_seed():
    for label in range(4):
        one, same, other = (oct_phantom(label, np.random.default_rng(seed), 64) for seed in (1, 1, 2))
        assert one.dtype == np.uint8
        assert one.shape == (64, 64)
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)


def test_brightness_does_not_tell_the_classes_apart():
    means = np.array([[oct_phantom(k, np.random.default_rng([k, i]), 32).mean() for i in range(60)] for k in range(4)])
    assert means.mean(1).std() < 0.5 * means.std(1).mean()


def test_writing_is_repeatable_and_split_by_patient(tmp_path):
    counts = {"train": 6, "val": 2, "test": 3}
    for name in ("a", "b"):
        write_oct_phantom(tmp_path / name, counts, 32, seed=4)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.jpeg"))
    assert len(files) == 4 * 11
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    datalist = kermany_datalist(tmp_path / "a")
    assert {split: len(items) for split, items in datalist.items()} == {"train": 24, "val": 8, "test": 12}
    assert "synthetic" in json.loads((tmp_path / "a" / "phantom.json").read_text())["data"]
    assert {Image.open(tmp_path / "a" / file).size for file in files} == {(32, 32)}


def test_a_finished_phantom_is_used_again_and_another_one_is_not_written_over(tmp_path):
    write_oct_phantom(tmp_path, 3, 32)
    file = next((tmp_path / "train" / "CNV").iterdir())
    stamp = file.stat().st_mtime_ns
    write_oct_phantom(tmp_path, 3, 32)
    assert file.stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match="not a synthetic OCT phantom of these settings"):
        write_oct_phantom(tmp_path, 3, 64)


def test_an_interrupted_phantom_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    def interrupted(*args):
        if args[0] == 2:
            raise KeyboardInterrupt
        return oct_phantom(*args)

    monkeypatch.setattr(sys.modules["monai_ima.data.oct_phantom"], "oct_phantom", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_oct_phantom(tmp_path, 3, 32)
    monkeypatch.undo()
    assert not (tmp_path / "phantom.json").exists()
    write_oct_phantom(tmp_path, 3, 32)
    assert len(kermany_datalist(tmp_path)["train"]) == 12


def test_without_data_the_log_says_synthetic(tmp_path, caplog):
    datalist = oct_datalist(None, tmp_path / "p", 3, 32)
    assert "SYNTHETIC" in caplog.text
    assert len(datalist["train"]) == 12


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="label 4"):
        oct_phantom(len(CLASSES), np.random.default_rng(0))
    with pytest.raises(ValueError, match="size 8"):
        oct_phantom(0, np.random.default_rng(0), 8)
    with pytest.raises(ValueError, match="per_class"):
        write_oct_phantom(tmp_path, {"train": 3}, 32)


def test_the_script_writes_the_layout_and_refuses_a_used_folder(tmp_path):
    script = [sys.executable, str(REPO / "data_scripts" / "make_oct_phantom.py")]
    run = subprocess.run(
        [*script, "--out", str(tmp_path / "o"), "--per_class", "3", "--size", "32"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "SYNTHETIC" in run.stdout
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").touch()
    run = subprocess.run([*script, "--out", str(tmp_path / "used")], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert list((tmp_path / "used").iterdir()) == [tmp_path / "used" / "mine.txt"]
