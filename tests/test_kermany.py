from __future__ import annotations

import shutil

import pytest
from PIL import Image

from monai_ima.data import CLASSES, DamagedImageError, kermany_datalist, scan_datalist, summarize
from monai_ima.data.folders import SPLITS


def write(root, split, patients, first=0):
    """For each class one 8x8 scan of each patient, in root/split/CLASS/CLASS-patient-1.jpeg."""
    for name in CLASSES:
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for patient in patients(name) if callable(patients) else patients:
            Image.new("L", (8, 8), 100).save(folder / f"{name}-{patient}-{1 + first}.jpeg")


def of_class(name):
    """Patients of their own for each class."""
    return range(100 * CLASSES.index(name), 100 * CLASSES.index(name) + 10)


def patients_of(datalist):
    return {split: {item["patient"] for item in items} for split, items in datalist.items()}


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_splits(tmp_path, seed):
    write(tmp_path, "", of_class)
    write(tmp_path, "", range(900, 906))  # patients with scans of all classes
    datalist = kermany_datalist(tmp_path, seed=seed)
    patients = patients_of(datalist)
    assert sum(len(items) for items in datalist.values()) == 64
    assert not patients["train"] & patients["val"]
    assert not patients["train"] & patients["test"]
    assert not patients["val"] & patients["test"]
    for split in SPLITS:
        assert {item["label"] for item in datalist[split]} == set(range(4))
    assert len(datalist["train"]) > len(datalist["test"]) > len(datalist["val"])


def test_the_split_depends_on_the_seed_alone(tmp_path):
    write(tmp_path, "train", of_class)
    assert kermany_datalist(tmp_path, seed=3) == kermany_datalist(tmp_path, seed=3)
    assert kermany_datalist(tmp_path, seed=3) != kermany_datalist(tmp_path, seed=4)


def test_a_published_split_is_kept_but_for_shared_patients(tmp_path):
    write(tmp_path, "train", range(10))
    write(tmp_path, "val", range(8, 12))
    write(tmp_path, "test", range(11, 15))
    patients = patients_of(kermany_datalist(tmp_path))
    assert patients["test"] == {str(p) for p in range(11, 15)}
    assert patients["val"] == {str(p) for p in range(8, 11)}
    assert patients["train"] == {str(p) for p in range(8)}


def test_missing_validation_is_taken_out_of_train(tmp_path):
    write(tmp_path, "train", of_class)
    write(tmp_path, "test", range(900, 903))
    patients = patients_of(kermany_datalist(tmp_path))
    assert patients["test"] == {"900", "901", "902"}
    assert len(patients["train"]) + len(patients["val"]) == 40
    assert 4 <= len(patients["val"]) < 10
    assert not patients["train"] & patients["val"]


def test_training_scans_per_class_are_limited(tmp_path):
    write(tmp_path, "", of_class)
    datalist = kermany_datalist(tmp_path, per_class=3)
    assert [sum(item["label"] == k for item in datalist["train"]) for k in range(4)] == [3] * 4
    assert len(datalist["test"]) == len(kermany_datalist(tmp_path)["test"])


def test_items_say_file_label_patient_and_relative_id(tmp_path):
    write(tmp_path, "train", of_class)
    item = kermany_datalist(tmp_path)["train"][0]
    name = CLASSES[item["label"]]
    assert item["sample_id"] == f"train/{name}/{name}-{item['patient']}-1.jpeg"
    assert item["image"] == str(tmp_path / item["sample_id"])


def test_a_patient_with_most_of_the_scans_does_not_starve_a_split(tmp_path):
    write(tmp_path, "", of_class)
    for n in range(60):
        write(tmp_path, "", lambda name: [of_class(name)[0]], first=1 + n)
    datalist = kermany_datalist(tmp_path, check_images=False)
    for split in SPLITS:
        assert {item["label"] for item in datalist[split]} == set(range(4))


@pytest.mark.parametrize("seed", [0, 1, 21])
def test_few_patients_with_scans_of_two_classes_can_be_split(tmp_path, seed):
    """Three patients a class, some with scans of two classes; the first deal of seeds 1 and 21 leaves a class out."""
    write(tmp_path, "", lambda name: of_class(name)[:3])
    for scan in ("CNV/CNV-100-1", "DME/DME-200-1", "DRUSEN/DRUSEN-300-1"):
        Image.new("L", (8, 8)).save(tmp_path / f"{scan}.jpeg")
    datalist = kermany_datalist(tmp_path, seed=seed)
    assert all({item["label"] for item in items} == set(range(4)) for items in datalist.values())


def test_a_class_with_fewer_scans_than_asked_for_keeps_what_it_has(tmp_path):
    write(tmp_path, "", of_class)
    assert kermany_datalist(tmp_path, per_class=1000) == kermany_datalist(tmp_path)


def test_scans_left_out_are_counted_in_the_log(tmp_path, caplog):
    write(tmp_path, "train", range(10))
    write(tmp_path, "val", range(20, 22))
    write(tmp_path, "test", range(8, 12))
    kermany_datalist(tmp_path)
    assert "8 of 40 scans were left out of train" in caplog.text


def test_hidden_folders_and_blanks_around_split_names_do_no_harm(tmp_path):
    write(tmp_path, "train ", of_class)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "train " / ".cache").mkdir()
    (tmp_path / "train " / "CNV" / "._CNV-1-1.jpeg").write_bytes(b"x")
    assert sum(len(items) for items in kermany_datalist(tmp_path).values()) == 40


@pytest.mark.parametrize("seed", range(5))
def test_the_real_scans_are_split_by_patient_with_all_classes(real_data, seed):
    datalist = kermany_datalist(real_data / "OCT2017", seed=seed)
    patients = patients_of(datalist)
    assert sum(len(items) for items in datalist.values()) == 32
    assert sum(len(p) for p in patients.values()) == len(set().union(*patients.values())) == 25
    assert all({item["label"] for item in items} == set(range(4)) for items in datalist.values())


def test_summary_counts_scans_and_patients(tmp_path):
    write(tmp_path, "train", range(10))
    write(tmp_path, "train", range(2), first=1)
    write(tmp_path, "val", range(20, 22))
    write(tmp_path, "test", range(30, 33))
    lines = summarize(kermany_datalist(tmp_path)).splitlines()
    assert lines[0].split() == ["scans/patients", *CLASSES, "all"]
    assert lines[1].split() == ["train", "12/10", "12/10", "12/10", "12/10", "48/10"]
    assert lines[3].split() == ["test", "3/3", "3/3", "3/3", "3/3", "12/3"]


def test_inference_takes_any_folder_of_images(tmp_path):
    for folder in ("a", ".cache", "__MACOSX"):
        (tmp_path / folder).mkdir()
    for name in ("a/x.png", "b.jpeg", ".hidden.png", ".cache/y.png", "__MACOSX/z.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    assert scan_datalist(tmp_path) == [
        {"image": str(tmp_path / name), "sample_id": name} for name in ("a/x.png", "b.jpeg")
    ]


def rename(old, new):
    return lambda train: (train / old).rename(train / new)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (rename("DRUSEN", "DRUSSEN"), "DRUSSEN is not a class, expected CNV, DME, DRUSEN, NORMAL"),
        (rename("DME", "dme"), "dme is not a class"),
        (lambda train: shutil.rmtree(train / "CNV"), "has no folder CNV"),
        (rename("CNV/CNV-5-1.jpeg", "CNV/scan5.jpeg"), r"scan5.jpeg is not named as expected, CLASS-patient-n"),
        (rename("CNV/CNV-5-1.jpeg", "CNV/CNV-smith-1.jpeg"), r"CNV-smith-1.jpeg is not named as expected"),
        (rename("CNV/CNV-5-1.jpeg", "CNV/DME-5-1.jpeg"), "DME-5-1.jpeg is named DME in the folder CNV"),
        (lambda train: (train / "CNV/CNV-5-1.png").touch(), r"CNV-5-1.jpeg and CNV-5-1.png are the same scan"),
        (lambda train: (train / "CNV/more").mkdir(), "more is inside a class folder"),
        (lambda train: write(train.parent, "train ", range(10)), "holds 'train' twice"),
        (lambda train: (train.parent / "extra").mkdir(), "extra is not a split"),
    ],
)
def test_a_wrong_layout_is_refused_by_name(tmp_path, damage, sentence):
    write(tmp_path, "train", range(10))
    damage(tmp_path / "train")
    with pytest.raises(ValueError, match=sentence):
        kermany_datalist(tmp_path)


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        kermany_datalist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no folders"):
        kermany_datalist(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no images"):
        scan_datalist(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is a file"):
        kermany_datalist(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        scan_datalist(tmp_path / "nowhere")
    for name in CLASSES:
        (tmp_path / "root" / name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no scans"):
        kermany_datalist(tmp_path / "root")


def test_too_few_patients_are_refused(tmp_path):
    write(tmp_path, "train", range(2))
    with pytest.raises(ValueError, match="too few patients"):
        kermany_datalist(tmp_path)


def test_a_class_that_a_split_lacks_is_refused(tmp_path):
    write(tmp_path, "train", range(10))
    write(tmp_path, "val", range(20, 22))
    write(tmp_path, "test", range(30, 33))
    for file in (tmp_path / "test" / "DME").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"Class folder .*test/DME holds no scan"):
        kermany_datalist(tmp_path)


def test_damaged_images_are_refused_by_name(tmp_path):
    write(tmp_path, "train", of_class)
    whole = tmp_path / "train" / "CNV" / "CNV-5-1.jpeg"
    Image.effect_noise((64, 64), 50).save(whole)
    whole.write_bytes(whole.read_bytes()[:-600])
    (tmp_path / "train" / "DME" / "DME-103-1.jpeg").write_bytes(b"")
    with pytest.raises(DamagedImageError, match=r"2 image file\(s\) cannot be read.*CNV-5-1.jpeg"):
        kermany_datalist(tmp_path)
    assert sum(len(items) for items in kermany_datalist(tmp_path, check_images=False).values()) == 40


def test_bad_settings_are_refused(tmp_path):
    for per_class in (0, 1.5):
        with pytest.raises(ValueError, match=f"per_class {per_class}"):
            kermany_datalist(tmp_path, per_class=per_class)
    with pytest.raises(ValueError, match="fractions"):
        kermany_datalist(tmp_path, fractions=(0.5, 0.2, 0.2))
