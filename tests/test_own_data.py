"""Folders of the user's own: any classes, patients from a pattern or a table, and no patient in two splits."""

from __future__ import annotations

import itertools
import json
import logging

import nibabel
import numpy as np
import pytest
from bundle_runs import SMALL, bundle_of, options, read_rows, run_small
from small_image_files import write_pictures, write_table

from monai_ima.__main__ import main
from monai_ima.data import (
    class_folder_datalist,
    class_names,
    folder_classes,
    keep_class_names,
    msd_datalist,
    volume_datalist,
)
from monai_ima.data.folders import SPLITS

PATTERN = "^([a-z]+[0-9]+)_"


def write_volumes(root, names, size=8, classes=2):
    """Volumes with a bright cube, in imagesTr and labelsTr, without dataset.json."""
    rng = np.random.default_rng(0)
    label = np.zeros((size,) * 3, np.uint8)
    label[2:-2, 2:-2, 2:-2] = 1
    label[2:-2, 2:-2, 4:-2] = classes - 1
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for name in names:
        image = np.asarray(rng.normal(size=label.shape) + 2 * label, np.float32)
        for folder, voxels in (("imagesTr", image), ("labelsTr", label)):
            nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(root / folder / f"{name}.nii.gz")
    return root


def pictures(patients=6, each=2):
    return [f"{c}/{c}{p}_{n}.png" for c in ("healthy", "scar") for p in range(patients) for n in range(each)]


def patients_of(datalist):
    return {split: {item["patient"] for item in items} for split, items in datalist.items()}


def assert_nobody_is_in_two_splits(datalist):
    for one, other in itertools.combinations(patients_of(datalist).values(), 2):
        assert not one & other
    files = [item["sample_id"] for items in datalist.values() for item in items]
    assert len(files) == len(set(files))
    return files


@pytest.mark.parametrize("seed", range(20))
def test_no_patient_of_class_folders_is_in_two_splits_whoever_has_which_scans(tmp_path, seed):
    """Random patients have random numbers of scans in random classes; the truth is the table, not the reader."""
    rng = np.random.default_rng(seed)
    classes = [f"k{k}" for k in range(rng.integers(2, 5))]
    kept = [f"{split}/" for split in SPLITS] if seed % 2 else [""]
    names, patients = [], {}
    for scan in range(120):
        number = int(rng.integers(25))
        patient = f"P{number}"
        folder = kept[number % len(kept) if rng.random() < 0.95 else rng.integers(len(kept))]
        name = f"{folder}{classes[rng.integers(len(classes))]}/{scan:03d}_{patient}.png"
        names.append(name)
        patients[name] = patient
    write_pictures(tmp_path / "data", names)
    table = write_table(tmp_path / "patients.csv", patients.items())
    by_table = class_folder_datalist(tmp_path / "data", patient_csv=table, seed=seed, check_images=False)
    by_pattern = class_folder_datalist(
        tmp_path / "data", patient_pattern=r"_(P[0-9]+)\.", seed=seed, check_images=False
    )
    assert by_table == by_pattern
    files = assert_nobody_is_in_two_splits(by_table)
    assert len(files) == 120 or seed % 2, "pooled scans are all used, a split of its own loses those of shared patients"
    for item in itertools.chain(*by_table.values()):
        assert item["patient"] == patients[item["sample_id"]]
        assert classes[item["label"]] == item["sample_id"].split("/")[-2]


@pytest.mark.parametrize("seed", range(20))
def test_no_patient_of_volumes_is_in_two_splits(tmp_path, seed):
    rng = np.random.default_rng(seed)
    patients = {f"v{k:02d}": f"P{rng.integers(8)}" for k in range(24)}
    write_volumes(tmp_path / "data", patients)
    table = write_table(tmp_path / "p.csv", ((f"imagesTr/{name}.nii.gz", own) for name, own in patients.items()))
    datalist = msd_datalist(tmp_path / "data", patient_csv=table, seed=seed, check_files=False)
    assert len(assert_nobody_is_in_two_splits(datalist)) == 24
    assert all(datalist.values())
    assert all(item["patient"] == patients[item["sample_id"]] for items in datalist.values() for item in items)


def test_classes_are_the_folders_names_of_all_splits(tmp_path):
    write_pictures(tmp_path, ["train/scar/a.png", "train/drusen/b.png", "test/healthy/c.png"])
    assert folder_classes(tmp_path) == class_names(tmp_path) == ["drusen", "healthy", "scar"]


def test_a_folder_of_test_scans_alone_can_be_evaluated_but_not_trained_on(tmp_path):
    root = write_pictures(tmp_path, ["test/healthy/a1_0.png", "test/scar/b1_0.png", "test/scar/b1_1.png"])
    evaluation = class_folder_datalist(root, patient_pattern=PATTERN, evaluated="test")
    assert [item["label"] for item in evaluation["test"]] == [0, 1, 1]
    assert evaluation["train"] == evaluation["val"] == []
    with pytest.raises(ValueError, match=r"Split train of .* has no scan"):
        class_folder_datalist(root, patient_pattern=PATTERN)
    one_class = class_folder_datalist(
        write_pictures(tmp_path / "one", ["test/scar/b1_0.png"]), ["healthy", "scar"], PATTERN, evaluated="test"
    )
    assert [item["label"] for item in one_class["test"]] == [1]


def test_the_split_all_is_every_scan(tmp_path):
    root = write_pictures(tmp_path / "pictures", pictures(2, 1))
    assert len(class_folder_datalist(root, patient_pattern=PATTERN, evaluated="all")["all"]) == 4
    volumes = write_volumes(tmp_path / "volumes", ["a", "b"])
    assert [item["sample_id"] for item in msd_datalist(volumes, evaluated="all")["all"]] == ["a", "b"]
    with pytest.raises(ValueError, match=r"holds 2 labelled scan\(s\), expected at least 3 to split"):
        msd_datalist(volumes)


@pytest.mark.parametrize(
    ("names", "arguments", "sentence"),
    [
        ([], {}, "holds no folders"),
        (["scar/s1_0.png"], {}, r"holds 1 class folder\(s\), expected at least two"),
        ([*pictures(), "odd/.hidden.png"], {"patient_pattern": PATTERN}, "Class folder .*odd holds no scan"),
        (pictures(), {}, "healthy0_0.png is not named as expected.*patient_pattern or patient_csv"),
        (
            [*pictures(), "scar/IMG1.png"],
            {"patient_pattern": PATTERN},
            r"The patient_pattern '\^\(\[a-z\].*' does not match .*scar/IMG1.png",
        ),
        (pictures(), {"patient_pattern": "[a-z]+"}, r"with 0 groups, expected a regular expression with one group"),
        (pictures(), {"patient_pattern": "([a-z]+"}, r"patient_pattern '\(\[a-z\]\+' \(missing"),
        (pictures(), {"patient_pattern": "(a)", "patient_csv": "x"}, "Got both a patient_pattern and a patient_csv"),
        (pictures(), {"patient_csv": "none.csv"}, "none.csv does not exist"),
        (pictures(1, 1), {"patient_pattern": PATTERN}, "too few patients to split by patient"),
    ],
)
def test_a_bad_folder_or_pattern_is_refused_in_one_sentence(tmp_path, names, arguments, sentence):
    write_pictures(tmp_path, names)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as refused:
        class_folder_datalist(tmp_path, **arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        ([("a.png", "p")], ("file", "person"), "has no column patient, expected the columns file and patient"),
        ([("scar/a.png", "p")], ("file", "patient"), "lacks healthy/b.png, expected a row for every file"),
        ([("b.png", "p"), ("a.png", "q"), ("a.png", "r")], ("file", "patient"), "has the patients q and r for a.png"),
        (
            [("b.png", "p"), ("a.png", "q"), ("scar/a.png", "r")],
            ("file", "patient"),
            "has the patients q and r for scar/a.png",
        ),
        ([("a.png", "")], ("file", "patient"), "Line 2 of .* lacks a file or a patient"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(tmp_path, rows, columns, sentence):
    root = write_pictures(tmp_path / "data", ["scar/a.png", "healthy/b.png"])
    with pytest.raises(ValueError, match=sentence):
        class_folder_datalist(root, patient_csv=write_table(tmp_path / "p.csv", rows, columns))


def test_a_bare_name_in_the_table_must_be_that_of_one_file(tmp_path):
    root = write_pictures(tmp_path / "data", ["scar/a.png", "healthy/a.png"])
    with pytest.raises(ValueError, match=r"names a.png, which 2 files of .* are called"):
        class_folder_datalist(root, patient_csv=write_table(tmp_path / "p.csv", [("a.png", "p")]))


def test_a_split_that_names_other_scans_is_ignored_with_one_line(tmp_path, caplog):
    root = write_volumes(tmp_path / "data", "abcdef")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["x"], "val": ["y"], "test": ["z"]}))
    with caplog.at_level(logging.INFO):
        found = msd_datalist(root, split)
    assert found == msd_datalist(root)
    lines = [record for record in caplog.records if "is ignored" in record.getMessage()]
    assert [line.getMessage() for line in lines] == [
        f"Split file {split} names no scan of {root}: it is ignored, the scans are split at random."
    ]


def test_a_list_that_parts_a_patient_is_refused(tmp_path):
    root = write_volumes(tmp_path / "data", ["p1_a", "p1_b", "p2_a", "p3_a"])
    split = {"train": ["p1_a"], "val": ["p2_a"], "test": ["p3_a", "p1_b"]}
    assert len(msd_datalist(root, split)["test"]) == 2
    with pytest.raises(ValueError, match="The split has patient p1 in train and in test, expected each in one split"):
        msd_datalist(root, split, patient_pattern="^(p[0-9])")


def test_an_evaluation_takes_a_list_without_training_scans_and_training_does_not(tmp_path, caplog):
    root = write_volumes(tmp_path / "data", "abc")
    for split in ({"test": ["a", "b", "c"]}, {"train": ["gone"], "val": [], "test": ["a", "b", "c"]}):
        found = msd_datalist(root, split, evaluated="test")
        assert [item["sample_id"] for item in found["test"]] == ["a", "b", "c"]
        assert found["train"] == []
        with pytest.raises(ValueError, match=r"has other entries than expected|names gone in train"):
            msd_datalist(root, split)
    assert "1 of the scans that The split names are not in" in caplog.text


def test_a_missing_label_is_named(tmp_path):
    root = write_volumes(tmp_path, "abc")
    (root / "labelsTr" / "b.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"labelsTr/b.nii.gz does not exist, expected the label that"):
        msd_datalist(root)


def test_the_phantom_needs_no_patients(tmp_path):
    found = volume_datalist("hippocampus", None, tmp_path, 3, 16, patient_pattern="(no such)", split={"test": ["x"]})
    assert sum(map(len, found.values())) == 3


def test_classes_are_kept_beside_the_weights_and_never_exchanged(tmp_path):
    keep_class_names(tmp_path, ["b", "a"])
    keep_class_names(tmp_path, ["b", "a"])
    root = write_pictures(tmp_path / "data", pictures(1, 1))
    assert class_names(root, tmp_path / "model_last.pt") == ["b", "a"]
    with pytest.raises(ValueError, match=r"holds weights of the classes b, a, expected a, b"):
        keep_class_names(tmp_path, ["a", "b"])
    keep_class_names(tmp_path, ["a", "b"], overwrite=True)
    assert class_names(weights=tmp_path / "model.pt") == ["a", "b"]
    (tmp_path / "classes.json").write_text('"a"')
    with pytest.raises(ValueError, match=r"classes.json holds 'a', expected a list of class names"):
        class_names(root, tmp_path / "model.pt")


def test_the_oct_bundle_trains_evaluates_and_infers_on_classes_of_the_users_own(tmp_path, capsys):
    data = write_pictures(tmp_path / "data", pictures(), 48)
    own = {"dataset_dir": str(data), "patient_pattern": PATTERN}
    settings = {key: value for key, value in SMALL["oct"].items() if key != "phantom_per_class"}
    run_small("oct", ["train.json"], tmp_path / "run", learning_rate=0.02, epochs=4, delta=0.02, **own)
    weights = tmp_path / "run" / "models" / "model.pt"
    command = ["evaluate", "--bundle", str(bundle_of("oct_classification")), "--levels", "0,0.02", "--attack", "pgd2"]
    command += ["--cases", "2", "--checkpoint", str(weights), *options(settings)]
    out = tmp_path / "out"
    assert main([*command, "--out", str(out), *options(own)]) == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert results["classes"] == list(results["accuracy_by_class"]) == ["healthy", "scar"]
    assert results["data"]["name"] == f"data in {data}"
    assert results["data"]["licence"] is None
    assert results["data"]["patients"] == 2
    assert results["data"]["samples"] == 4
    assert main(["report", "--results", str(out)]) == 0
    assert "Kermany" not in (out / "report.html").read_text()

    run_small("oct", ["inference.json"], tmp_path / "inference", ckpt_path=str(weights), dataset_dir=str(data))
    rows = read_rows(tmp_path / "inference" / "predictions.csv")
    assert {row["predicted"] for row in rows} <= {"healthy", "scar"}

    other = write_pictures(tmp_path / "other", ["healthy/healthy1_0.png", "wart/wart1_0.png"], 48)
    own["dataset_dir"] = str(other)
    assert main([*command, "--out", str(tmp_path / "none"), *options(own)]) == 2
    assert "wart is not a class, expected healthy, scar" in capsys.readouterr().err


def test_the_hippocampus_bundle_evaluates_scans_of_the_users_own_by_patient(tmp_path, capsys, caplog):
    names = [f"s{k}" for k in range(9)]
    data = write_volumes(tmp_path / "data", names, 16, 3)
    table = write_table(tmp_path / "p.csv", [(f"{name}.nii.gz", f"P{int(name[1]) // 2}") for name in names])
    out = tmp_path / "out"
    command = ["evaluate", "--bundle", str(bundle_of("hippocampus_segmentation")), "--levels", "0,1", "--norm", "l2"]
    command += [
        "--cases",
        "1",
        "--attack",
        "pgd1",
        "--dataset_dir",
        str(data),
        "--patient_csv",
        str(table),
        "--out",
        str(out),
    ]
    assert main(command) == 0, capsys.readouterr().err
    assert caplog.text.count("it is ignored, the scans are split at random") == 1
    results = json.loads((out / "results.json").read_text())
    assert results["data"]["name"] == f"data in {data}"
    assert results["data"]["licence"] is None
    ids = {sample["sample_id"] for sample in results["samples"]}
    expected = {item["sample_id"] for item in msd_datalist(data, classes=3, patient_csv=table)["test"]}
    assert ids == expected
    assert results["data"]["patients"] == len({int(name[1]) // 2 for name in ids}) < len(names)
    assert main(["report", "--results", str(out)]) == 0
    assert "Decathlon" not in (out / "report.html").read_text()
