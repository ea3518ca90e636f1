"""What is read of volumes of the user's own: data list, split, spacing, window, classes; and what is refused."""

from __future__ import annotations

import importlib.util
import itertools
import json
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.transforms import NormalizeIntensityd, ScaleIntensityd, ScaleIntensityRanged
from own_volumes import folders, write_dataset, write_scan, write_scans

from monai_ima.data import VolumePlan, keep_plan, kept_plan, msd_class_names, own_scans, own_volumes, volume_plan
from monai_ima.data.volume_files import _read_as_monai, read_channels, read_voxels
from monai_ima.transforms import intensity_bounds, intensity_scaling

STRIDES = {"UNet": 16, "SegResNet": 8, "DynUNet": 16, "SwinUNETR": 32}
plan_of = partial(volume_plan, network="SegResNet", strides=STRIDES)


def scans_of(root: Path) -> list[dict]:
    return own_volumes(dataset_dir=root, evaluated="all")["all"]


def test_both_layouts_give_the_same_data_list(tmp_path):
    root = write_scans(tmp_path, [f"s{k}" for k in range(7)])
    from_folders, from_dataset = own_volumes(**folders(root)), own_volumes(dataset_dir=root)
    assert from_folders == from_dataset
    assert {split: len(items) for split, items in from_folders.items()} == {"train": 5, "val": 1, "test": 1}
    first = from_folders["train"][0]
    assert first["image"] == str(root / "imagesTr" / f"{first['sample_id']}.nii.gz")


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_is_in_two_splits_and_a_seed_gives_one_split(seed, tmp_path):
    names = [f"p{k % 7}_{k}" for k in range(17)]
    root = write_scans(tmp_path, names)
    found = own_volumes(**folders(root), patient_pattern="^(p[0-9])_", seed=seed)
    patients = {split: {item["patient"] for item in items} for split, items in found.items()}
    assert {split: len(people) for split, people in patients.items()} == {"train": 5, "val": 1, "test": 1}
    assert not any(one & other for one, other in itertools.combinations(patients.values(), 2))
    assert sorted(item["sample_id"] for items in found.values() for item in items) == sorted(names)
    assert found == own_volumes(dataset_dir=root, patient_pattern="^(p[0-9])_", seed=seed)


def test_another_seed_gives_another_split(tmp_path):
    root = write_scans(tmp_path, [f"s{k}" for k in range(9)])
    tests = {own_volumes(dataset_dir=root, seed=seed)["test"][0]["sample_id"] for seed in range(6)}
    assert len(tests) > 1


def test_lists_of_scans_are_taken_as_they_are(tmp_path):
    root = write_scans(tmp_path, "abcd")
    split = {"train": ["d", "b"], "val": ["a"], "test": ["c"]}
    found = own_volumes(dataset_dir=root, split=split)
    assert {name: [item["sample_id"] for item in items] for name, items in found.items()} == {
        "train": ["b", "d"],
        "val": ["a"],
        "test": ["c"],
    }


def test_spacing_window_channels_and_classes_equal_those_written_by_hand(tmp_path):
    """The last scan lies with its axes as up, left, front: 20 x 0.9 mm right, 40 x 0.8 mm front, 10 x 3 mm up."""
    turned = np.array([[0, -0.9, 0, 0], [0, 0, 0.8, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    for name, shape, affine in (
        ("a", (44, 36, 12), np.diag([0.8, 0.8, 2.5, 1])),
        ("b", (40, 30, 12), np.diag([0.8, 1.0, 2.0, 1])),
        ("c", (10, 20, 40), turned),
    ):
        write_scan(tmp_path, name, shape, affine, channels=2)
    write_dataset(tmp_path)
    plan = plan_of(scans_of(tmp_path))
    assert plan.spacing == (0.8, 0.8, 2.5)
    # resampled: 44x36x12, 40x38x10 (30 x 1.0 / 0.8 = 37.5 to the even 38), 22x40x12 (20 x 0.9 / 0.8 = 22.5 to 22)
    assert plan.patch_size == (40, 32, 8), "of the median 40x38x12 the multiples of 8"
    assert plan.channels == 2
    assert plan.class_names == ["background", "class 1", "class 2"]
    given = plan_of(scans_of(tmp_path), spacing=[1.6, 1.6, 2.5], scale="minmax")
    assert given.patch_size == (16, 16, 8), "of the median 20x19x12"
    assert (given.spacing, given.scale) == ((1.6, 1.6, 2.5), "minmax")
    write_dataset(tmp_path, {"0": "none", "1": "liver", "2": "spleen", "3": "seen in no scan"})
    named = plan_of(scans_of(tmp_path), class_names=msd_class_names(tmp_path))
    assert named.class_names == ["none", "liver", "spleen", "seen in no scan"]


@pytest.mark.parametrize(
    ("shape", "network", "window"),
    [
        ((20, 18, 15), "SegResNet", (16, 16, 8)),
        ((20, 18, 15), "UNet", (32, 16, 16)),
        ((20, 30, 15), "DynUNet", (16, 32, 16)),
        ((20, 18, 15), "SwinUNETR", (64, 32, 32)),
        ((120, 200, 33), "UNet", (96, 96, 32)),
        ((120, 200, 70), "SwinUNETR", (96, 96, 64)),
    ],
)
def test_windows_are_multiples_of_the_stride_with_more_than_one_voxel_below(shape, network, window, tmp_path):
    write_scan(tmp_path, "a", shape)
    write_dataset(tmp_path)
    assert volume_plan(scans_of(tmp_path), network, STRIDES).patch_size == window


def test_channels_in_files_of_their_own_are_one_image(tmp_path):
    root = tmp_path / "data"
    for name in ("case_0000", "case_0001"):
        write_scan(root, name)
    (root / "labelsTr" / "case_0001.nii.gz").unlink()
    (root / "labelsTr" / "case_0000.nii.gz").rename(root / "labelsTr" / "case.nii.gz")
    (scan,) = own_volumes(**folders(root), evaluated="all")["all"]
    assert scan["sample_id"] == "case"
    assert plan_of([scan]).channels == 2
    (inferred,) = own_scans(root / "imagesTr", 2)
    assert inferred["image"] == scan["image"]
    voxels, _ = read_channels(scan)
    expected = [np.asarray(nibabel.Nifti1Image.from_filename(file).dataobj) for file in scan["image"]]
    np.testing.assert_array_equal(voxels, np.stack(expected, -1))
    with pytest.raises(ValueError, match=r"case_0000.nii.gz has 2 channel\(s\), expected 3"):
        own_scans(root / "imagesTr", 3)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_volume_read_by_monai_is_the_one_that_nibabel_reads(channels, tmp_path):
    write_scan(tmp_path, "a", affine=np.diag([-1, 2, 3, 1]), channels=channels)
    file = str(tmp_path / "imagesTr" / "a.nii.gz")
    for ours, expected in zip(_read_as_monai(file), read_voxels(file), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_plan_is_kept_beside_the_weights_and_never_exchanged(tmp_path):
    root = write_scans(tmp_path / "data", "abc")
    plan, other = plan_of(scans_of(root)), plan_of(scans_of(root), scale="minmax")
    keep_plan(tmp_path, plan)
    keep_plan(tmp_path, plan)
    assert kept_plan(tmp_path / "model_last.pt") == kept_plan(tmp_path / "model.pt", "zscore") == plan
    with pytest.raises(ValueError, match="holds weights of scale 'zscore', expected 'minmax'"):
        keep_plan(tmp_path, other)
    with pytest.raises(ValueError, match=r"Got scale 'minmax', expected zscore, with which .*model.pt was trained"):
        kept_plan(tmp_path / "model.pt", "minmax")
    keep_plan(tmp_path, other, overwrite=True)
    assert kept_plan(tmp_path / "model.pt") == other
    with pytest.raises(FileNotFoundError, match=r"none/plan.json does not exist, expected it beside the weights"):
        kept_plan(tmp_path / "none" / "model.pt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "cannot be read"),
        ({"spacing": [1, 1]}, r"cannot be read \(spacing.2: Field required\)"),
        ({"spacing": [1, 1, -1]}, r"cannot be read \(spacing.2: Input should be greater than 0\)"),
        ({"strides": 2}, r"cannot be read \(strides: Extra inputs"),
    ],
)
def test_a_damaged_plan_is_refused_in_one_sentence(content, sentence, tmp_path):
    plan = VolumePlan(
        network="UNet", scale="zscore", channels=1, class_names=["a", "b"], spacing=(1, 1, 1), patch_size=(32, 16, 16)
    )
    text = content if isinstance(content, str) else json.dumps({**json.loads(plan.model_dump_json()), **content})
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=sentence) as refused:
        kept_plan(tmp_path / "model.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("scale", "transform", "bounds"),
    [
        ("zscore", NormalizeIntensityd("image", channel_wise=True), None),
        ("minmax", ScaleIntensityd("image", channel_wise=True), (0, 1)),
        ("-100:400", ScaleIntensityRanged("image", -100, 400, 0, 1, clip=True), (0, 1)),
        (" 0.5 : 1.5", ScaleIntensityRanged("image", 0.5, 1.5, 0, 1, clip=True), (0, 1)),
    ],
)
def test_a_scaling_by_name_is_monais_transform(scale, transform, bounds):
    image = np.random.default_rng(0).normal(100, 300, (2, 5, 6, 7)).astype(np.float32)
    expected = transform({"image": image.copy()})["image"]
    np.testing.assert_array_equal(intensity_scaling(scale)({"image": image})["image"], expected)
    assert intensity_bounds(scale) == bounds


def broken(root: Path, how: str) -> dict:
    """Settings for ``own_volumes`` of a folder where something is wrong."""
    write_scans(root, "abcd")
    image, label = root / "imagesTr" / "b.nii.gz", root / "labelsTr" / "b.nii.gz"
    if how == "no labels":
        return {"images": folders(root)["images"]}
    if how == "two layouts":
        return {"images": folders(root)["images"], "dataset_dir": str(root)}
    if how == "one label is missing":
        label.unlink()
    elif how == "other names":
        for file in (root / "labelsTr").iterdir():
            file.rename(file.with_name(f"label_{file.name}"))
    elif how == "other shape":
        nibabel.Nifti1Image(np.ones((20, 18, 15), np.uint8), np.eye(4)).to_filename(label)
    elif how == "other affine":
        nibabel.Nifti1Image(np.ones((20, 18, 16), np.uint8), np.diag([1, 1, 2, 1])).to_filename(label)
    elif how in ("one is 2-D", "all are 2-D"):
        for file in [image, label] if how == "one is 2-D" else root.glob("*Tr/*.nii.gz"):
            nibabel.Nifti1Image(np.ones((20, 18), np.uint8), np.eye(4)).to_filename(file)
    elif how == "other channels":
        write_scan(root, "b", channels=2)
    elif how == "too few":
        for file in [*root.glob("*Tr/a.nii.gz"), *root.glob("*Tr/c.nii.gz")]:
            file.unlink()
    elif how == "no list":
        (root / "dataset.json").write_text('{"train": []}')
        return {"dataset_dir": str(root)}
    return folders(root)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no labels", "Got images, expected images and labels, or dataset_dir alone"),
        ("two layouts", "Got images and dataset_dir, expected images and labels, or dataset_dir alone"),
        ("one label is missing", r"1 image\(s\) in .*imagesTr have no label in .*labelsTr: b.nii.gz"),
        ("other names", "No image in .*imagesTr has the name of a label in"),
        ("other shape", r"labelsTr/b.nii.gz has shape \(20, 18, 15\), expected \(20, 18, 16\) as its image"),
        (
            "other affine",
            r"labelsTr/b.nii.gz has the affine \[1 0 0 0; 0 1 0 0; 0 0 2 0\], expected \[1 0 0 0; 0 1 0 0",
        ),
        ("one is 2-D", "imagesTr/b.nii.gz is 2-D and .*imagesTr/a.nii.gz is 3-D"),
        ("all are 2-D", "imagesTr/a.nii.gz is 2-D, expected volumes of three axes"),
        ("other channels", r"imagesTr/b.nii.gz has 2 channel\(s\), expected 1 as .*a.nii.gz has"),
        ("too few", r"holds 2 labelled scan\(s\), expected at least 3 to split"),
        ("no list", 'dataset.json cannot be read .* expected a list "training" of images and labels'),
    ],
)
def test_bad_folders_are_refused_in_one_sentence(how, sentence, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as refused:
        own_volumes(**broken(tmp_path, how))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "settings", "sentence"),
    [
        ((1, 3), {}, r"hold the values 0, 1, 3 \(label .*a.nii.gz the 3\), expected .* without a gap: 2 is missing"),
        ((), {}, "hold the values 0 .* without a gap: 1 is missing"),
        (
            (1, 3),
            {"class_names": ["a", "b", "c"]},
            "holds the value 3, expected integers from 0 to 2, one for each name",
        ),
        ((1,), {"class_names": ["a"]}, r"Got class_names \['a'\], expected two names at least"),
        ((1,), {"network": "segresnet2"}, r"Unknown network 'segresnet2', expected .* \(the nearest is SegResNet\)"),
        ((1,), {"patch_size": [20, 16, 16]}, "Got patch_size 20x16x16, expected multiples of 8 for SegResNet"),
        (
            (1,),
            {"patch_size": [8, 8, 8]},
            "Got patch_size 8x8x8, expected multiples of 8 for SegResNet, along one axis 16",
        ),
        ((1,), {"patch_size": [16, 16]}, r"Got patch_size \[16, 16\], expected three integers > 0"),
        ((1,), {"spacing": [1, 0, 1]}, r"Got spacing \[1, 0, 1\], expected three numbers > 0"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(values, settings, sentence, tmp_path):
    write_scan(tmp_path, "a", values=values)
    write_dataset(tmp_path)
    with pytest.raises(ValueError, match=sentence) as refused:
        plan_of(scans_of(tmp_path), **settings)
    assert "\n" not in str(refused.value)


def test_a_label_between_two_classes_is_refused(tmp_path):
    write_scan(tmp_path, "a")
    write_dataset(tmp_path)
    nibabel.Nifti1Image(np.full((20, 18, 16), 0.5, np.float32), np.eye(4)).to_filename(tmp_path / "labelsTr/a.nii.gz")
    with pytest.raises(ValueError, match=r"a.nii.gz holds the value 0.5, expected integers >= 0"):
        plan_of(scans_of(tmp_path))


def test_a_package_that_a_network_needs_is_named(tmp_path, monkeypatch):
    write_scan(tmp_path, "a")
    write_dataset(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="Network SwinUNETR needs the package einops, expected it to be installed"):
        plan_of(scans_of(tmp_path), network="SwinUNETR")


@pytest.mark.parametrize("content", ['{"labels": {"background": 0}}', '{"labels": ["background"]}', "{", "[]"])
def test_names_of_classes_that_cannot_be_read_are_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ValueError, match=r"dataset.json .*expected") as refused:
        msd_class_names(tmp_path)
    assert "\n" not in str(refused.value)
