from __future__ import annotations

import json
import logging
from contextlib import nullcontext

import nibabel as nib
import numpy as np
import pytest

from monai_ima.data import DamagedImageError, check_volumes, msd_datalist, volume_scans

SHAPE = (8, 9, 10)
AFFINE = np.diag((1.0, 2.0, 0.5, 1.0))


def save(file, voxels, affine=AFFINE):
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), file)


def write(root, scans=10, shape=SHAPE, suffix=".nii.gz"):
    """A folder in MSD layout with scans named t_000, t_001 ... and the hidden files of a published archive."""
    rng = np.random.default_rng(0)
    names = [f"t_{scan:03d}{suffix}" for scan in range(scans)]
    for name in names:
        save(root / "imagesTr" / name, rng.normal(size=shape).astype(np.float32))
        save(root / "labelsTr" / name, rng.integers(0, 3, size=shape[:3]).astype(np.uint8))
        (root / "imagesTr" / f"._{name}").write_bytes(b"x")
    write_dataset(root, [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names])
    return root


def write_dataset(root, training):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({"name": "t", "training": training, "test": []}))


def ids(datalist):
    return {name: [item["sample_id"] for item in items] for name, items in datalist.items()}


def test_items_name_existing_files_and_the_scan(tmp_path):
    datalist = msd_datalist(write(tmp_path, 5), classes=3)
    item = datalist["test"][0]
    assert item == {
        "image": str(tmp_path / "imagesTr" / f"{item['sample_id']}.nii.gz"),
        "label": str(tmp_path / "labelsTr" / f"{item['sample_id']}.nii.gz"),
        "sample_id": item["sample_id"],
    }
    assert sorted(scan for part in ids(datalist).values() for scan in part) == [f"t_{scan:03d}" for scan in range(5)]


@pytest.mark.parametrize(
    ("scans", "fractions", "counts"),
    [
        (10, (0.7, 0.1, 0.2), [7, 1, 2]),
        (3, (0.7, 0.1, 0.2), [1, 1, 1]),
        (3, (0.05, 0.05, 0.9), [1, 1, 1]),
        (4, (0.05, 0.9, 0.05), [1, 2, 1]),
        (20, (0.5, 0.25, 0.25), [10, 5, 5]),
    ],
)
def test_a_random_split_has_the_shares_asked_for_and_no_scan_twice(tmp_path, scans, fractions, counts):
    write(tmp_path, scans, shape=(2, 2, 2))
    datalist = ids(msd_datalist(tmp_path, fractions=fractions, check_files=False))
    assert [len(datalist[name]) for name in ("train", "val", "test")] == counts
    assert len({scan for part in datalist.values() for scan in part}) == scans
    assert all(part == sorted(part) for part in datalist.values())


def test_the_random_split_depends_on_seed_and_names_alone(tmp_path):
    write(tmp_path, 10)
    first = msd_datalist(tmp_path, seed=3, check_files=False)
    entries = json.loads((tmp_path / "dataset.json").read_text())["training"]
    write_dataset(tmp_path, entries[::-1])
    assert msd_datalist(tmp_path, seed=3, check_files=False) == first
    assert msd_datalist(tmp_path, seed=4, check_files=False) != first


def test_a_listed_split_is_kept_and_the_rest_goes_to_train(tmp_path, caplog):
    write(tmp_path, 6)
    split = {"train": ["t_004"], "val": ["t_003"], "test": ["t_005", "t_000"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    with caplog.at_level(logging.INFO):
        for given in (split, tmp_path / "split.json", str(tmp_path / "split.json")):
            assert ids(msd_datalist(tmp_path, given, classes=3)) == {
                "train": ["t_001", "t_002", "t_004"],
                "val": ["t_003"],
                "test": ["t_000", "t_005"],
            }
    assert split["train"] == ["t_004"]
    assert f"2 of 6 scans in {tmp_path} are in no list of the split and go to train" in caplog.text
    assert f"Scans in {tmp_path}: 3 train, 1 val, 2 test." in caplog.text


SPLIT = {"train": ["t_000"], "val": ["t_001"], "test": ["t_002"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"val": ["t_001", "t_009", "t_010"]}, r"names t_009 in val, expected a labelled scan of"),
        ({"val": [["t_001"]]}, r"names \['t_001'\] in val"),
        ({"test": ["t_001"]}, r"names t_001 in val and in test, expected each scan once"),
        ({"train": ["t_000", "t_000"]}, r"names t_000 in train and in train"),
        ({"val": []}, r"leaves no scan for val"),
        ({"val": "t_001"}, r"has 't_001' for val, expected a list"),
        ({"vall": []}, r"has other entries than expected, a list of scans for each of train, val, test"),
    ],
)
def test_a_wrong_split_is_refused(tmp_path, change, sentence):
    write(tmp_path, 4)
    (tmp_path / "split.json").write_text(json.dumps({**SPLIT, **change}))
    with pytest.raises(ValueError, match="The split " + sentence):
        msd_datalist(tmp_path, {**SPLIT, **change})
    with pytest.raises(ValueError, match=r"Split file .*split.json " + sentence):
        msd_datalist(tmp_path, tmp_path / "split.json")


def test_a_split_file_that_is_missing_or_damaged_is_refused_by_name(tmp_path):
    write(tmp_path, 3)
    with pytest.raises(FileNotFoundError, match=r"Split file .*none.json does not exist"):
        msd_datalist(tmp_path, tmp_path / "none.json")
    for text, sentence in (("{", "cannot be read"), ("[]", "has other entries than expected")):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(ValueError, match=f"split.json {sentence}"):
            msd_datalist(tmp_path, tmp_path / "split.json")


def test_a_wrong_dataset_json_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        msd_datalist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no dataset\.json, expected the layout of an MSD task"):
        msd_datalist(tmp_path)
    for text in ("{", "[]", "3", '{"test": []}', '{"training": null}', '{"training": ["a.nii.gz"]}', "\udcff"):
        (tmp_path / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=r"dataset\.json cannot be read \(.*\), expected a list \"training\""):
            msd_datalist(tmp_path)
    for entry in ({"image": "a.nii.gz"}, {"image": ["a.nii.gz"], "label": "a.nii.gz"}):
        write_dataset(tmp_path, [entry])
        with pytest.raises(ValueError, match=r"An entry of \"training\" in .*dataset\.json is .*, expected one image"):
            msd_datalist(tmp_path)
    write_dataset(tmp_path, [{"image": "imagesTr/._a.nii.gz", "label": "labelsTr/._a.nii.gz"}])
    with pytest.raises(ValueError, match=r"dataset\.json names no image"):
        msd_datalist(tmp_path)


@pytest.mark.parametrize("part", ["imagesTr", "labelsTr"])
def test_a_listed_file_that_is_missing_is_named_even_without_a_check(tmp_path, part):
    write(tmp_path, 4)
    (tmp_path / part / "t_002.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{part}/t_002\.nii\.gz does not exist, expected the \w+ that"):
        msd_datalist(tmp_path, check_files=False)


def test_a_scan_listed_twice_is_refused(tmp_path):
    write(tmp_path, 4)
    entries = json.loads((tmp_path / "dataset.json").read_text())["training"]
    write_dataset(tmp_path, [*entries, entries[1]])
    with pytest.raises(ValueError, match=r"t_001\.nii\.gz are the same scan"):
        msd_datalist(tmp_path, check_files=False)


def test_too_few_scans_and_bad_settings_are_refused(tmp_path):
    write(tmp_path, 2)
    with pytest.raises(ValueError, match=r"holds 2 labelled scan\(s\), expected at least 3"):
        msd_datalist(tmp_path)
    with pytest.raises(ValueError, match="fractions"):
        msd_datalist(tmp_path, fractions=(0.5, 0.2, 0.2))
    for settings, words in [
        ({"channels": 0}, "channels 0"),
        ({"classes": 1}, "classes 1"),
        ({"min_size": 0}, "min_size 0"),
        ({"min_size": (8, 8)}, r"min_size \(8, 8\)"),
        ({"spacing": -1.0}, "spacing -1.0"),
        ({"spacing": "1mm"}, "spacing 1mm"),
    ]:
        with pytest.raises(ValueError, match=words):
            check_volumes([], **{"channels": 1, "classes": 2, **settings})


def image_of(shape=SHAPE, dtype=np.float32):
    return (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)


def label_of(shape=SHAPE, dtype=np.uint8):
    return (np.arange(np.prod(shape)).reshape(shape) % 3).astype(dtype)


def with_value(voxels, value):
    voxels = voxels.copy()
    voxels[1, 2, 3] = value
    return voxels


def pair(tmp_path, image, label, suffix=".nii.gz"):
    """Items of a sound scan and one of these voxels."""
    items = []
    for name, (a, b) in {"sound": (image_of(), label_of()), "odd": (image, label)}.items():
        item = {"image": tmp_path / f"image_{name}{suffix}", "label": tmp_path / f"label_{name}{suffix}"}
        save(item["image"], a)
        save(item["label"], b)
        items.append({key: str(file) for key, file in item.items()})
    return items


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (image_of(dtype=np.uint8), label_of(dtype=np.float32)),
        (image_of(dtype=np.int16), label_of(dtype=np.int16)),
        (image_of(), label_of(dtype=np.float64)),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sound_volumes_of_any_type_pass(tmp_path, image, label, suffix):
    check_volumes(pair(tmp_path, image, label, suffix), channels=1, classes=3)


@pytest.mark.parametrize(
    ("image", "label", "sentence"),
    [
        (image_of((8, 9)), label_of(), r"Image image has shape \(8, 9\), expected \[x, y, z\]"),
        (image_of((8, 9, 10, 2)), label_of(), r"Image image has shape \(8, 9, 10, 2\), expected \[x, y, z\]"),
        (image_of(), label_of((8, 9, 10, 2)), r"Label label has shape \(8, 9, 10, 2\), expected \[x, y, z\]"),
        (image_of(), label_of((8, 9, 9)), r"Label label has shape \(8, 9, 9\), expected \(8, 9, 10\)"),
        (with_value(image_of(), np.nan), label_of(), "Image image holds NaN or infinite voxels"),
        (with_value(image_of(), -np.inf), label_of(), "Image image holds NaN or infinite voxels"),
        (image_of() * 0 + 7, label_of(), "Image image has the same value everywhere"),
        (image_of().astype(np.complex64), label_of(), "File image holds .* complex64, expected real numbers"),
        (image_of(), with_value(label_of(), 3), "Label label holds the value 3, .* from 0 to 2"),
        (image_of(), with_value(label_of(dtype=np.int16), -1), "Label label holds the value -1"),
        *(
            (image_of(), with_value(label_of(dtype=np.float32), value), f"Label label holds the value {value}")
            for value in (0.5, np.nan, np.inf)
        ),
        (image_of(), label_of() * 0, "Label label has no foreground"),
    ],
)
def test_a_wrong_volume_is_refused_by_name(tmp_path, image, label, sentence):
    kind, name, words = sentence.split(" ", 2)
    with pytest.raises(ValueError, match=f"{kind} .*{name}_odd.nii.gz {words}"):
        check_volumes(pair(tmp_path, image, label), channels=1, classes=3)


def test_channels_are_checked_one_by_one(tmp_path):
    sound = {"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    save(tmp_path / "image.nii.gz", image_of((*SHAPE, 2)))
    save(tmp_path / "label.nii.gz", label_of())
    check_volumes([sound], channels=2, classes=3)
    with pytest.raises(ValueError, match=r"image.nii.gz has shape \(8, 9, 10, 2\), expected \[x, y, z, 3\]"):
        check_volumes([sound], channels=3, classes=3)
    save(tmp_path / "image.nii.gz", np.stack([image_of(), np.ones(SHAPE, np.float32)], axis=-1))
    with pytest.raises(ValueError, match="same value everywhere, expected an intensity range in each channel"):
        check_volumes([sound], channels=2, classes=3)


@pytest.mark.parametrize(("shift", "fits"), [(5e-4, True), (0.004, False)])
def test_image_and_label_must_lie_at_the_same_place(tmp_path, shift, fits):
    affine = AFFINE.copy()
    affine[:3, 3] = 500
    moved = affine.copy()
    moved[0, 3] += shift
    items = [{"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}]
    save(tmp_path / "image.nii.gz", image_of(), affine)
    save(tmp_path / "label.nii.gz", label_of(), moved)
    refused = pytest.raises(ValueError, match=r"Label .*label.nii.gz has another affine than its image")
    with nullcontext() if fits else refused:
        check_volumes(items, channels=1, classes=3)


def test_a_volume_below_the_smallest_size_is_refused(tmp_path):
    items = pair(tmp_path, image_of(), label_of())
    check_volumes(items, 1, 3, min_size=8)
    check_volumes(items, 1, 3, min_size=(8, 9, 10))
    with pytest.raises(ValueError, match=r"image_sound.nii.gz has 8x9x10 voxels, expected at least 9x9x9"):
        check_volumes(items, 1, 3, min_size=9)
    check_volumes(items, 1, 3, min_size=(4, 9, 2), spacing=2)  # 8x18x5 mm
    check_volumes(items, 1, 3, min_size=(8, 18, 5), spacing=1.0)
    with pytest.raises(ValueError, match=r"resampled to 1x1x1 mm has 8x18x5 voxels, expected at least 8x18x6"):
        check_volumes(items, 1, 3, min_size=(8, 18, 6), spacing=1.0)
    with pytest.raises(ValueError, match=r"resampled to 1x2x0.5 mm has 8x9x10 voxels, expected at least 8x9x11"):
        check_volumes(items, 1, 3, min_size=(8, 9, 11), spacing=(1, 2, 0.5))


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "cut at the checksum": lambda data: data[:-4],
    "flipped": flipped,
    "text": lambda data: b"no volume",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [*((".nii.gz", damage) for damage in DAMAGES), (".nii", "cut"), (".nii", "text"), (".nii", "empty")],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, key, suffix, damage):
    noise = np.random.default_rng(0)
    image, label = noise.normal(size=SHAPE).astype(np.float32), noise.integers(0, 3, SHAPE).astype(np.uint8)
    items = pair(tmp_path, image, label, suffix)
    file = tmp_path / f"{key}_odd{suffix}"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    sentence = rf"{key}_odd{suffix} cannot be read \(.+\), expected a whole NIfTI file"
    with pytest.raises(DamagedImageError, match=sentence):
        check_volumes(items, channels=1, classes=3)


def test_another_format_is_refused(tmp_path):
    items = pair(tmp_path, image_of(), label_of())
    nib.save(nib.MGHImage(image_of(), AFFINE), tmp_path / "image.mgz")
    with pytest.raises(DamagedImageError, match=r"image.mgz cannot be read \(it is a MGHImage\)"):
        check_volumes([{**items[0], "image": str(tmp_path / "image.mgz")}], channels=1, classes=3)


def test_the_first_wrong_item_is_the_one_named(tmp_path):
    items = pair(tmp_path, image_of(), label_of() * 0)
    wrong = {"image": items[0]["image"], "label": str(tmp_path / "none.nii.gz")}
    for order, sentence in (
        ([*items, wrong], "label_odd.nii.gz has no foreground"),
        ([items[0], wrong, items[1]], "none.nii.gz cannot be read"),
    ):
        with pytest.raises(ValueError, match=sentence):
            check_volumes(order, channels=1, classes=3)


def test_files_are_opened_unless_the_caller_says_no(tmp_path):
    write(tmp_path, 4)
    (tmp_path / "labelsTr" / "t_003.nii.gz").write_bytes(b"")
    with pytest.raises(DamagedImageError, match="t_003"):
        msd_datalist(tmp_path, classes=3)
    with pytest.raises(DamagedImageError, match="t_003"):
        msd_datalist(tmp_path, {"train": ["t_003", "t_000"], "val": ["t_001"], "test": ["t_002"]}, classes=3)
    assert len(msd_datalist(tmp_path, check_files=False)["train"]) == 2


def test_the_check_is_told_what_to_expect(tmp_path):
    write(tmp_path, 3, shape=(*SHAPE, 2))
    msd_datalist(tmp_path, channels=2, classes=3, min_size=2, spacing=2)
    with pytest.raises(ValueError, match=r"expected \[x, y, z\]"):
        msd_datalist(tmp_path, channels=1, classes=3)
    with pytest.raises(ValueError, match="from 0 to 1"):
        msd_datalist(tmp_path, channels=2)
    with pytest.raises(ValueError, match="resampled to 2x2x2 mm has 4x9x2 voxels"):
        msd_datalist(tmp_path, channels=2, classes=3, min_size=4, spacing=2)


def test_inference_takes_the_test_images_then_the_training_images_then_any_volume(tmp_path):
    write(tmp_path, 3)
    volume = tmp_path / "imagesTr" / "t_000.nii.gz"
    for name in ("loose_b.nii.gz", "loose_a.nii", ".hidden.nii.gz", "notes.txt"):
        (tmp_path / name).write_bytes(volume.read_bytes())
    assert [item["sample_id"] for item in volume_scans(tmp_path)] == ["t_000", "t_001", "t_002"]
    for folder in ("imagesTs", "folder.nii"):
        (tmp_path / folder).mkdir()
    (tmp_path / "imagesTs" / "._t_009.nii.gz").write_bytes(b"x")
    assert len(volume_scans(tmp_path)) == 3
    (tmp_path / "imagesTs" / "t_009.nii.gz").write_bytes(volume.read_bytes())
    found = volume_scans(tmp_path)
    assert found == [{"image": str(tmp_path / "imagesTs" / "t_009.nii.gz"), "sample_id": "t_009"}]
    (tmp_path / "dataset.json").unlink()
    assert [item["sample_id"] for item in volume_scans(tmp_path)] == ["loose_a", "loose_b"]


def test_a_folder_without_volumes_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        volume_scans(tmp_path / "nowhere")
    (tmp_path / "._a.nii.gz").touch()
    words = f"{tmp_path} holds no volumes, expected files ending in .nii.gz or .nii"
    with pytest.raises(FileNotFoundError, match=words):
        volume_scans(tmp_path)
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"Files .*a.nii.* and .*a.nii.* are the same scan"):
        volume_scans(tmp_path)


def test_the_real_hippocampus_scans_pass(real_data):
    datalist = msd_datalist(real_data / "Task04_Hippocampus", channels=1, classes=3, min_size=24, spacing=1.0)
    assert {name: len(items) for name, items in datalist.items()} == {"train": 140, "val": 20, "test": 40}
    with pytest.raises(ValueError, match="holds the value 2"):
        check_volumes(datalist["val"], channels=1, classes=2)


def test_a_dataset_json_from_windows_is_read(tmp_path):
    root = write(tmp_path, 4)
    before = msd_datalist(root, classes=3)
    file = root / "dataset.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_text().replace("/", "\\\\").encode())
    assert "\\\\imagesTr\\\\" in file.read_text()
    assert msd_datalist(root, classes=3) == before


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused_by_name(tmp_path, encoding):
    root = write(tmp_path, 4)
    file = root / "dataset.json"
    file.write_bytes(file.read_text().replace('"t"', '"é"').encode(encoding))
    with pytest.raises(ValueError, match=r"dataset\.json is not UTF-8 text, expected it to be saved as UTF-8"):
        msd_datalist(root)
