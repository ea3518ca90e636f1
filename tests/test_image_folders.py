"""Labelled images of the user's own: which files are read, how they are split, and what is refused."""

from __future__ import annotations

import logging
from collections import Counter

import nibabel
import numpy as np
import pytest
from PIL import Image
from small_image_files import write_pictures, write_table

from monai_ima.data import (
    SHAPE_CLASSES,
    ImageFileReader,
    class_names,
    grouped_split,
    image_classes,
    image_folder_datalist,
    keep_split,
    kept_split,
    labelled_image_datalist,
)
from monai_ima.data.folders import SPLITS

PATTERN = "^([a-z]+[0-9]+)_"
COLUMNS = ("image", "label", "patient")


def names(patients=12, each=2, classes=("healthy", "scar"), ending="png"):
    return [f"{c}/{c}{p}_{n}.{ending}" for c in classes for p in range(patients) for n in range(each)]


def read(file, *arguments):
    reader = ImageFileReader(*arguments)
    return reader.get_data(reader.read(file))[0]


def ids(datalist):
    return {split: [item["sample_id"] for item in items] for split, items in datalist.items()}


@pytest.mark.parametrize("seed", range(12))
def test_no_patient_straddles_and_every_class_is_in_every_split(seed, tmp_path):
    """Random patients with random numbers of images in random classes; the truth is the table, not the reader."""
    rng = np.random.default_rng(seed)
    rows, classes = [], [f"k{k}" for k in range(rng.integers(2, 5))]
    for number in range(30):
        favourite = classes[number % len(classes)]
        for _ in range(rng.integers(1, 6)):
            label = favourite if rng.random() < 0.8 else classes[rng.integers(len(classes))]
            rows.append((f"{len(rows):03d}.png", label, f"P{number}"))
    write_pictures(tmp_path, [name for name, *_ in rows])
    table = write_table(tmp_path / "t.csv", rows, COLUMNS)
    found = labelled_image_datalist(table, seed=seed, check_images=False)
    patient = {name: whose for name, _, whose in rows}
    label = {name: kind for name, kind, _ in rows}
    whose = {split: {patient[name] for name in own} for split, own in ids(found).items()}
    assert sum(map(len, whose.values())) == len(set.union(*whose.values())) == len({*patient.values()})
    assert sorted(name for own in ids(found).values() for name in own) == sorted(patient)
    assert all({label[name] for name in own} == set(classes) for own in ids(found).values())
    assert all(classes[item["label"]] == label[item["sample_id"]] for items in found.values() for item in items)
    assert 0.1 < len(found["test"]) / len(rows) < 0.32
    assert found == labelled_image_datalist(table, seed=seed, check_images=False)


def test_without_patients_each_class_is_split_by_the_fractions(tmp_path, caplog):
    root = write_pictures(tmp_path, names(25, 2) + names(10, 1, ("wart",)))
    with caplog.at_level(logging.INFO):
        found = labelled_image_datalist(root, fractions=(0.6, 0.2, 0.2), check_images=False)
    counts = {split: Counter(item["label"] for item in items) for split, items in found.items()}
    assert counts == {"train": {0: 30, 1: 30, 2: 6}, "val": {0: 10, 1: 10, 2: 2}, "test": {0: 10, 1: 10, 2: 2}}
    assert not any("patient" in item for items in found.values() for item in items)
    assert "No patients are known" in caplog.text
    other = labelled_image_datalist(root, fractions=(0.6, 0.2, 0.2), seed=1, check_images=False)
    assert ids(other) != ids(found)


def test_split_folders_are_kept_and_the_missing_ones_are_taken_out_of_train(tmp_path):
    train = [f"train/{name}" for name in names()]
    only = labelled_image_datalist(write_pictures(tmp_path / "a", train), patient_pattern=PATTERN, check_images=False)
    assert all(name.startswith("train/") for own in ids(only).values() for name in own)
    assert all(only[split] for split in SPLITS)
    both = write_pictures(tmp_path / "b", [*train, "val/scar/scarx1_0.png", "val/healthy/healthyx1_0.png"])
    found = ids(labelled_image_datalist(both, check_images=False))
    assert found["val"] == ["val/healthy/healthyx1_0.png", "val/scar/scarx1_0.png"]
    assert all(name.startswith("train/") for name in found["test"])
    tests = [f"test/{name}" for name in names(2)]
    whole = write_pictures(tmp_path / "c", [*train, *tests])
    found = ids(labelled_image_datalist(whole, patient_pattern=PATTERN, check_images=False))
    assert found["test"] == tests
    left = {name.split("/")[2].split("_")[0] for name in found["train"] + found["val"]}
    assert not left & {"scar0", "scar1", "healthy0", "healthy1"}, "patients of the test folder leave train"


def test_an_evaluation_takes_a_test_folder_alone_or_all_images(tmp_path):
    root = write_pictures(tmp_path, ["test/scar/a.png", "test/healthy/b.png"])
    found = labelled_image_datalist(root, evaluated="test")
    assert ids(found) == {"train": [], "val": [], "test": ["test/healthy/b.png", "test/scar/a.png"]}
    assert list(labelled_image_datalist(root, evaluated="all")) == ["all"]
    with pytest.raises(ValueError, match="has no images to train"):
        labelled_image_datalist(root)


def test_a_kept_split_outlives_new_images_and_another_seed(tmp_path, caplog):
    root, models = write_pictures(tmp_path / "data", names()), tmp_path / "models"
    first = labelled_image_datalist(root)
    assert kept_split(models) is None
    keep_split(models, first)
    write_pictures(root, ["scar/new.png"])
    again = ids(labelled_image_datalist(root, split=kept_split(models), seed=5))
    assert again == {**ids(first), "train": sorted([*ids(first)["train"], "scar/new.png"])}
    assert kept_split(models, overwrite=True) is None
    other = write_pictures(tmp_path / "other", names(5, 1, ("a", "b")))
    assert ids(labelled_image_datalist(other, split=kept_split(models))) == ids(labelled_image_datalist(other))
    assert "names no scan of" in caplog.text


def test_held_out_samples_are_the_share_and_small_classes_are_not_forgotten():
    labels = [0] * 90 + [1] * 10
    held_out = grouped_split(labels, None, 0.2, seed=0)
    assert (held_out[:90].sum(), held_out[90:].sum()) == (18, 2)
    rare = grouped_split([0] * 97 + [1] * 3, None, 0.1, seed=0, needed=2)
    assert (rare[97:].sum(), rare.sum() < 40) == (1, True)
    people = [f"p{k // 3}" for k in range(60)]
    grouped = grouped_split([k // 3 % 2 for k in range(60)], people, 0.25, seed=3)
    assert 12 <= grouped.sum() <= 18
    assert not {p for p, out in zip(people, grouped, strict=True) if out} & {
        p for p, out in zip(people, grouped, strict=True) if not out
    }
    with pytest.raises(ValueError, match=r"The smallest class has 1 patient\(s\), expected at least 2 of each class"):
        grouped_split([0, 0, 1], ["p", "q", "q"], 0.5, seed=0)
    with pytest.raises(ValueError, match="too many classes each for a split"):
        grouped_split([0, 1, 1, 2, 2, 0], ["p", "p", "q", "q", "r", "r"], 0.5, seed=0)


def test_grey_and_colour_of_every_format_are_the_same_pixels(tmp_path):
    rng = np.random.default_rng(0)
    grey, colour = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((6, 4), (6, 4, 3)))
    for ending in ("png", "tif", "tiff"):
        for pixels in (grey, colour):
            Image.fromarray(pixels).save(tmp_path / f"a.{ending}")
            channels = 1 if pixels.ndim == 2 else 3
            assert np.array_equal(
                read(tmp_path / f"a.{ending}", channels), pixels.reshape(6, 4, channels) / np.float32(255)
            )
    Image.fromarray(grey).save(tmp_path / "g.png")
    assert np.array_equal(read(tmp_path / "g.png", 3), np.repeat(grey[..., None], 3, 2) / np.float32(255))
    deep = rng.integers(0, 4096, (6, 4)).astype(np.uint16)
    for ending in ("png", "tif"):
        Image.fromarray(deep).save(tmp_path / f"deep.{ending}")
        assert np.allclose(read(tmp_path / f"deep.{ending}", 1, (0, 4095))[..., 0], deep / 4095)
        with pytest.raises(ValueError, match=rf"deep.{ending} has more than 8 bits .* expected intensity_range"):
            read(tmp_path / f"deep.{ending}")


def test_nifti_images_are_scaled_by_the_range_and_lie_as_pictures_do(tmp_path):
    values = np.array([[-1000, 0, 500], [-2000, 1000, 3000]], np.float32)
    for shape, ending in (((2, 3), "nii"), ((2, 3, 1), "nii.gz")):
        nibabel.Nifti1Image(values.reshape(shape), np.eye(4)).to_filename(tmp_path / f"a.{ending}")
        image = read(tmp_path / f"a.{ending}", 1, (-1000, 1000))
        assert np.array_equal(image[..., 0], [[0, 0], [0.5, 1], [0.75, 1]])
    with pytest.raises(ValueError, match=r"a.nii is NIfTI, whose intensities have no known range"):
        read(tmp_path / "a.nii")


def test_a_table_gives_labels_and_classes_and_numbers_are_sorted_as_numbers(tmp_path, caplog):
    write_pictures(tmp_path, [f"deep/{k}.png" for k in range(22)])
    rows = [(f".\\deep\\{k}.png", str(k % 11), f"P{k // 2}") for k in range(22)]
    table = write_table(tmp_path / "labels.csv", rows, COLUMNS)
    assert image_classes(table) == class_names(table) == [str(k) for k in range(11)]
    with caplog.at_level(logging.INFO):
        (found,) = labelled_image_datalist(table, evaluated="all").values()
    assert [(item["sample_id"], item["label"]) for item in found][:3] == [
        ("deep/0.png", 0),
        ("deep/1.png", 1),
        ("deep/10.png", 10),
    ]
    assert "11 of 11 patients" in caplog.text


def test_the_phantom_has_its_own_split_and_says_that_it_is_synthetic(tmp_path, caplog):
    counts = {"train": 3, "val": 1, "test": 2}
    found = image_folder_datalist(None, tmp_path / "p", counts, 16, 3, patient_pattern="(no such)", split={"test": []})
    assert {split: len(items) for split, items in found.items()} == {split: 4 * n for split, n in counts.items()}
    assert "SYNTHETIC" in caplog.text
    assert read(found["test"][0]["image"], 3).shape == (16, 16, 3)
    assert class_names(tmp_path / "p") == list(SHAPE_CLASSES)


def empty(root):
    root.mkdir()


def one_class(root):
    write_pictures(root, ["scar/a.png"])


def class_without_images(root):
    write_pictures(root, names())
    (root / "wart").mkdir()


def damaged(root):
    write_pictures(root, names())
    (root / "scar" / "scar0_0.png").write_bytes(b"no picture")


def volume(root):
    write_pictures(root, names())
    nibabel.Nifti1Image(np.zeros((4, 4, 3), np.uint8), np.eye(4)).to_filename(root / "scar" / "v.nii.gz")


def pages(root):
    write_pictures(root, names())
    Image.new("L", (4, 4)).save(root / "scar" / "v.tif", save_all=True, append_images=[Image.new("L", (4, 4))])


def infinite(root):
    write_pictures(root, names())
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(root / "scar" / "v.tif")


def twice(root):
    write_pictures(root, [*names(), "scar/scar0_0.jpg"])


def few(root):
    write_pictures(root, names(2, 1))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty, "holds no folders"),
        (one_class, "holds 1 class folder(s), expected at least two"),
        (class_without_images, "wart holds no scan, expected files ending in .jpeg, .jpg, .png, .tiff"),
        (damaged, "scar0_0.png"),
        (volume, "v.nii.gz holds a volume of shape (4, 4, 3), expected a 2-D image"),
        (pages, "v.tif has 2 pages, expected one image a file"),
        (infinite, "v.tif holds NaN or infinite values"),
        (twice, "are the same scan"),
        (few, "cannot be split, no test can be taken out: The smallest class has 2 sample(s), expected at least 3"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_in_a_sentence(make, words, tmp_path):
    make(tmp_path / "data")
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        labelled_image_datalist(tmp_path / "data", reader=ImageFileReader(1, (0, 1)))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


GOOD = [("a.png", "x", "p"), ("b.png", "y", "q")]


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (GOOD, ("file", "label", "patient"), "has no column image, expected the columns image, label and"),
        (GOOD, ("image", "class", "patient"), "has no column label"),
        ([], COLUMNS, "holds no images"),
        ([*GOOD, ("a.png", "y", "p")], COLUMNS, "a.png 2 times, expected each image once"),
        ([*GOOD, ("c.png", "y", "p")], COLUMNS, "Line 4 of"),
        ([("a.png", "", "p")], COLUMNS, "Line 2 of"),
        ([("a.png", "x", "")], COLUMNS, "has no patient, expected one in every row"),
        ([("a.png", "x", "p")], COLUMNS, "holds one class only, x, expected at least two"),
        ([*GOOD, ("t.csv", "x", "p")], COLUMNS, "expected a file ending in .jpeg"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_a_sentence(rows, columns, words, tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    table = write_table(tmp_path / "t.csv", rows, columns)
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        labelled_image_datalist(table)
    assert words in str(refused.value)


def test_a_label_that_the_weights_do_not_know_is_named(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    table = write_table(tmp_path / "t.csv", GOOD, COLUMNS)
    with pytest.raises(ValueError, match=r"t.csv has the label y for b.png, expected x, z"):
        labelled_image_datalist(table, ["x", "z"], evaluated="all")
    with pytest.raises(ValueError, match="Got a patient_csv beside the table"):
        labelled_image_datalist(table, patient_csv=table)
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        labelled_image_datalist(tmp_path / "none.csv")
