from __future__ import annotations

import json

import make_oct_phantom
import numpy as np
import pytest
from PIL import Image
from script_runs import Script, refusal

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


@pytest.mark.parametrize("unset", [None, ""])
def test_without_data_the_log_says_synthetic(tmp_path, caplog, unset):
    datalist = oct_datalist(unset, tmp_path / "p", 3, 32)
    assert caplog.records[0].levelname == "WARNING"
    assert "SYNTHETIC" in caplog.records[0].message
    assert len(datalist["train"]) == 12


def test_a_folder_of_scans_is_read_and_no_phantom_written(tmp_path, caplog):
    write_oct_phantom(tmp_path / "scans", 3, 32)
    assert oct_datalist(tmp_path / "scans", tmp_path / "p") == kermany_datalist(tmp_path / "scans")
    assert "SYNTHETIC" not in caplog.text
    assert not (tmp_path / "p").exists()


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="label 4"):
        oct_phantom(len(CLASSES), np.random.default_rng(0))
    with pytest.raises(ValueError, match="size 8"):
        oct_phantom(0, np.random.default_rng(0), 8)
    for settings, words in [
        (({"train": 3}, 32), "per_class"),
        ((0, 32), "per_class 0"),
        (("abc", 32), "per_class abc"),
        ((3, 8), "size 8"),
        ((3, 32.5), "size 32.5"),
        ((3, 32, -1), "seed -1"),
    ]:
        with pytest.raises(ValueError, match=words):
            write_oct_phantom(tmp_path / "p", *settings)
    assert not (tmp_path / "p").exists()


def test_the_script_writes_the_layout_and_says_synthetic(tmp_path, capsys):
    out = Script(make_oct_phantom.make, capsys).run("--out", tmp_path / "o", "--per_class", 3, "--size", 32)
    assert "SYNTHETIC" in out
    assert "12/" in out.splitlines()[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--out is missing"),
        (["--out", "USED"], "other files than the synthetic OCT phantom"),
        (["--out", "NEW", "--per_class", "0"], "per_class 0"),
        (["--out", "NEW", "--sedd", "5"], "Unknown option --sedd"),
    ],
)
def test_the_script_refuses_bad_use_in_one_line(tmp_path, capsys, options, words):
    assert words in refusal(Script(make_oct_phantom.make, capsys), tmp_path, options)
