from __future__ import annotations

import json
from typing import Any

import make_volume_phantom
import nibabel as nib
import numpy as np
import pytest
from script_runs import Script, refusal

from monai_ima.data import msd_datalist, volume_datalist, volume_phantom, write_volume_phantom
from monai_ima.data.volume_phantom import TASKS


def classes_of(task):
    return set(range(len(TASKS[task].labels)))


def best_dice(values, body):
    """Dice of the best threshold, from either side."""
    candidates = [mask for q in np.quantile(values, np.linspace(0.01, 0.99, 50)) for mask in (values > q, values < q)]
    return max(2 * (mask & body).sum() / (mask.sum() + body.sum()) for mask in candidates)


@pytest.mark.parametrize("task", TASKS)
def test_a_scan_is_given_by_its_seed(task):
    one, same, other = (volume_phantom(task, np.random.default_rng(seed), 24) for seed in (1, 1, 2))
    assert (one[0].dtype, one[1].dtype) == (np.float32, np.uint8)
    assert one[0].shape == ((24, 24, 24, 2) if task == "prostate" else (24, 24, 24))
    assert one[1].shape == (24, 24, 24)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [16, (16, 40, 17)])
def test_the_smallest_scans_hold_all_classes(task, size):
    for seed in range(20):
        image, label = volume_phantom(task, np.random.default_rng(seed), size)
        assert set(np.unique(label)) == classes_of(task)
        assert np.isfinite(image).all()


@pytest.mark.parametrize("task", TASKS)
def test_no_threshold_finds_the_body_but_it_can_be_seen(task):
    scores, contrast = [], []
    for seed in range(6):
        image, label = volume_phantom(task, np.random.default_rng(seed), 32)
        for channel in np.atleast_1d(image.reshape(32, 32, 32, -1).transpose(3, 0, 1, 2)):
            scores.append(best_dice(channel, label > 0))
            contrast.append((channel[label > 0].mean() - channel[label == 0].mean()) / channel[label == 0].std())
    assert np.mean(scores) < 0.65
    assert np.mean(contrast) > 0.5


def test_the_unit_of_intensity_differs_between_scans():
    means = [volume_phantom("hippocampus", np.random.default_rng(seed), 16)[0].mean() for seed in range(20)]
    assert max(means) > 10 * min(means)


@pytest.mark.parametrize("task", TASKS)
def test_a_scan_of_the_tasks_own_size(task):
    image, label = volume_phantom(task, np.random.default_rng(0))
    assert label.shape == image.shape[:3] == TASKS[task].size
    assert set(np.unique(label)) == classes_of(task)


@pytest.mark.parametrize("task", TASKS)
def test_writing_is_repeatable_and_in_msd_layout(tmp_path, task):
    for name in ("a", "b"):
        write_volume_phantom(tmp_path / name, task, 4, (20, 24, 16), seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.nii.gz"))
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    dataset = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert "SYNTHETIC" in dataset["description"]
    assert dataset["numTraining"] == len(dataset["training"]) == 4
    assert tuple(dataset["labels"].values()) == TASKS[task].labels
    image = nib.Nifti1Image.from_filename(tmp_path / "a" / "imagesTr" / f"{task}_002.nii.gz")
    assert np.allclose(image.header.get_zooms()[:3], TASKS[task].spacing)
    assert not np.allclose(image.affine[:3, 3], 0)
    kinds: dict[str, Any] = {"channels": len(TASKS[task].modality), "classes": len(TASKS[task].labels)}
    assert sum(len(items) for items in msd_datalist(tmp_path / "a", **kinds).values()) == 4


def test_sides_of_hippocampus_scans_vary(tmp_path):
    write_volume_phantom(tmp_path, "hippocampus", 8, 20)
    shapes = np.array([nib.Nifti1Image.from_filename(file).shape for file in (tmp_path / "labelsTr").iterdir()])
    assert (abs(shapes - 20) <= 3).all()
    assert shapes.std(axis=0).min() > 0
    assert (shapes[:, 0] != shapes[:, 1]).any()


def test_a_longer_phantom_begins_with_the_scans_of_a_shorter_one_of_the_same_seed(tmp_path):
    for scans in (2, 3):
        write_volume_phantom(tmp_path / str(scans), "heart", scans, 16)
    write_volume_phantom(tmp_path / "other", "heart", 2, 16, seed=1)
    for file in (tmp_path / "2" / "imagesTr").iterdir():
        assert file.read_bytes() == (tmp_path / "3" / "imagesTr" / file.name).read_bytes()
        assert file.read_bytes() != (tmp_path / "other" / "imagesTr" / file.name).read_bytes()


@pytest.mark.parametrize("unset", [None, ""])
def test_without_data_the_log_says_synthetic_and_the_split_is_ignored(tmp_path, caplog, unset):
    datalist = volume_datalist("prostate", unset, tmp_path / "p", 5, 16, split=tmp_path / "none.json", seed=2)
    assert caplog.records[0].levelname == "WARNING"
    assert "SYNTHETIC" in caplog.records[0].message
    assert datalist == msd_datalist(tmp_path / "p", seed=2, channels=2, classes=3)


def test_a_folder_of_scans_is_read_with_its_split_and_no_phantom_written(tmp_path, caplog):
    write_volume_phantom(tmp_path / "scans", "hippocampus", 3, 16)
    split = {"train": ["hippocampus_002"], "val": ["hippocampus_000"], "test": ["hippocampus_001"]}
    datalist = volume_datalist("hippocampus", tmp_path / "scans", tmp_path / "p", split=split)
    assert {name: [item["sample_id"] for item in items] for name, items in datalist.items()} == split
    assert "SYNTHETIC" not in caplog.text
    assert not (tmp_path / "p").exists()
    with pytest.raises(ValueError, match="expected integers from 0 to 1"):
        volume_datalist("hippocampus", tmp_path / "scans", tmp_path / "p", classes=2)


def test_bad_settings_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for task, size, words in [
        ("liver", 32, "task liver, expected hippocampus, heart, prostate"),
        ("heart", 15, "size 15"),
        ("heart", (32, 32), r"size \(32, 32\)"),
        ("heart", (32, 32, 32.5), "size"),
        ("heart", "large", "size large"),
    ]:
        with pytest.raises(ValueError, match=words):
            volume_phantom(task, rng, size)
    for arguments, words in [
        (("liver",), "task liver"),
        (("heart", 0), "scans 0"),
        (("heart", 2.5), "scans 2.5"),
        (("heart", 3, 8), "size 8"),
        (("heart", 3, 16, -1), "seed -1"),
    ]:
        with pytest.raises(ValueError, match=words):
            write_volume_phantom(tmp_path / "p", *arguments)
    assert not (tmp_path / "p").exists()
    with pytest.raises(ValueError, match="task liver"):
        volume_datalist("liver", None, tmp_path / "p")


def test_the_script_writes_the_layout_and_says_synthetic(tmp_path, capsys):
    options = ["--out", str(tmp_path / "o"), "--task", "heart", "--scans", "3", "--size", "16,20,16"]
    out = Script(make_volume_phantom.make, capsys).run(*options)
    assert out == f"SYNTHETIC heart phantom in {tmp_path / 'o'}: 3 scans.\n"
    assert nib.Nifti1Image.from_filename(tmp_path / "o" / "labelsTr" / "heart_000.nii.gz").shape == (16, 20, 16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "heart"], "--out is missing"),
        (["--out", "NEW"], "--task is missing"),
        (["--out", "NEW", "--task", "liver"], "task liver"),
        (["--out", "USED", "--task", "heart"], "other files than the synthetic heart phantom"),
        (["--out", "NEW", "--task", "heart", "--scans", "0"], "scans 0"),
        (["--out", "NEW", "--task", "heart", "--sedd", "5"], "Unknown option --sedd"),
    ],
)
def test_the_script_refuses_bad_use_in_one_line(tmp_path, capsys, options, words):
    assert words in refusal(Script(make_volume_phantom.make, capsys), tmp_path, options)
