from __future__ import annotations

import gzip
import os
import pickle
import struct
import time
from functools import partial

import numpy as np
import pytest
from scipy.io import savemat
from small_image_files import (
    PER_CLASS,
    idx_bytes,
    images,
    write_cifar10,
    write_cifar100,
    write_fashion_mnist,
    write_fashion_mnist_npz,
    write_svhn,
)

from monai_ima.data import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    LabelledImages,
    cifar10_datalist,
    cifar_classes,
    fashion_mnist_datalist,
    read_cifar10,
    read_cifar100,
    read_fashion_mnist,
    read_idx,
    read_svhn,
    shapes_datalist,
    shapes_phantom,
    split_images,
    svhn_datalist,
)
from monai_ima.data.image_phantom import SHAPES
from monai_ima.data.labelled_images import balanced_order

READERS = {
    "fashion_mnist": (write_fashion_mnist, read_fashion_mnist, fashion_mnist_datalist, (1, 28, 28)),
    "fashion_mnist_npz": (write_fashion_mnist_npz, read_fashion_mnist, fashion_mnist_datalist, (1, 28, 28)),
    "svhn": (write_svhn, read_svhn, svhn_datalist, (3, 32, 32)),
    "cifar10": (write_cifar10, read_cifar10, cifar10_datalist, (3, 32, 32)),
    "cifar100": (write_cifar100, read_cifar100, partial(cifar10_datalist, classes=100), (3, 32, 32)),
}


def class_count(name):
    return 100 if name == "cifar100" else 10


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_the_images_and_labels_that_were_written(tmp_path, name):
    write, read, _, shape = READERS[name]
    for split, found in zip(PER_CLASS, read(write(tmp_path)), strict=True):
        image, label = images(split, shape, class_count(name))
        assert found.image.dtype == np.uint8
        assert np.array_equal(found.image, image)
        assert found.label.dtype == np.int64
        assert np.array_equal(found.label, label)


@pytest.mark.parametrize("name", READERS)
def test_items_have_stable_ids_and_validation_images_are_off_the_training_images(tmp_path, name):
    write, _, datalist, shape = READERS[name]
    write(tmp_path)
    classes = class_count(name)
    found = datalist(tmp_path, val_count=classes, seed=3)
    assert {split: len(items) / classes for split, items in found.items()} == {"train": 3, "val": 1, "test": 2}
    image, label = images("train", shape, classes)
    for item in found["train"] + found["val"]:
        split, _, row = item["sample_id"].partition("-")
        assert (split, len(row)) == ("train", 5)
        assert np.array_equal(item["image"], image[int(row)])
        assert item["label"] == label[int(row)]
    ids = {split: [item["sample_id"] for item in items] for split, items in found.items()}
    assert len({*ids["train"], *ids["val"]}) == 4 * classes
    assert ids["test"] == [f"test-{row:05d}" for row in range(2 * classes)]
    for split in ("train", "val"):
        assert ids[split] == sorted(ids[split])
        assert set(np.bincount([item["label"] for item in found[split]])) == {len(ids[split]) // classes}
    again = datalist(tmp_path, val_count=classes, seed=3)
    assert [i["sample_id"] for i in again["val"]] == ids["val"]
    assert [i["sample_id"] for i in datalist(tmp_path, val_count=classes, seed=4)["val"]] != ids["val"]


def test_every_start_of_the_order_is_balanced_and_a_smaller_subset_is_part_of_a_larger_one():
    label = np.repeat(np.arange(10), 50)
    order = balanced_order(label, 0)
    assert sorted(order) == list(range(500))
    for count in (1, 7, 10, 123, 499):
        counts = np.bincount(label[order[:count]], minlength=10)
        assert counts.max() - counts.min() <= 1
    train = LabelledImages(np.zeros((500, 1, 2, 2), np.uint8), label)

    def ids(split, **settings):
        return {item["sample_id"] for item in split_images(train, train, 50, **settings)[split]}

    assert ids("train", subset=100) < ids("train", subset=200) < ids("train")
    assert ids("test", test_subset=10) < ids("test", test_subset=20)
    assert len(ids("test", test_subset=20)) == 20
    assert ids("val", subset=100) == ids("val")
    assert not ids("val") & ids("train")


def test_a_rare_class_is_there_while_it_lasts():
    label = np.array([0] * 30 + [1] * 4)
    counts = [np.bincount(label[balanced_order(label, 1)[:n]], minlength=2).tolist() for n in (6, 8, 20)]
    assert counts == [[3, 3], [4, 4], [16, 4]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_count": 0}, "Got val_count 0, expected an integer from 1 to 39"),
        ({"val_count": 40}, "val_count 40"),
        ({"subset": 31}, "Got subset 31, expected an integer from 1 to 30"),
        ({"subset": 2.5}, "subset 2.5"),
        ({"test_subset": 0}, "test_subset 0, expected an integer from 1 to 20"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, settings, words):
    write_fashion_mnist(tmp_path)
    with pytest.raises(ValueError, match=words):
        fashion_mnist_datalist(tmp_path, **{"val_count": 10, **settings})


@pytest.mark.parametrize("code_and_type", [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("compress", [False, True])
def test_every_idx_type_is_read_in_the_machines_byte_order(tmp_path, code_and_type, compress):
    code, dtype = code_and_type
    array = np.arange(-6, 6).astype(dtype).reshape(2, 3, 2)
    content = idx_bytes(array, code)
    (tmp_path / "a").write_bytes(gzip.compress(content) if compress else content)
    found = read_idx(tmp_path / "a")
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert found.flags.writeable
    assert np.array_equal(found, array)


WHOLE = idx_bytes(np.zeros((3, 2), np.uint8))
ZIPPED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with the bytes , expected the header"),
        (b"\x89PNG\r\n", "starts with the bytes 89504e47"),
        (b"\0\0\x0a\x01" + WHOLE[4:], "starts with the bytes 00000a01"),
        (b"\0\0\x08\0", "starts with the bytes 00000800"),
        (WHOLE[:9], "ends inside its header of 12 bytes"),
        (WHOLE[:-1], r"holds 17 bytes, expected 18 for an array of shape \(3, 2\)"),
        (WHOLE + b"x", "holds 19 bytes, expected 18"),
        (struct.pack(">4B2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), "holds 12 bytes, expected 18446744"),
        (ZIPPED[:-9], "cannot be decompressed"),
        (ZIPPED[:3], "cannot be decompressed"),
        (ZIPPED[:12] + b"\xff" * 9, "cannot be decompressed"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, content, words):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.gz {words}"):
        read_idx(tmp_path / "a.gz")


def test_an_idx_file_may_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        read_idx(tmp_path / "none")


def test_plain_idx_files_are_taken_and_all_missing_ones_are_named(tmp_path):
    write_fashion_mnist(tmp_path)
    packed = tmp_path / "t10k-labels-idx1-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert np.array_equal(read_fashion_mnist(tmp_path)[1].label, images("test", (1,))[1])
    packed.with_suffix("").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no train-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz, exp"):
        read_fashion_mnist(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_or_empty_folder_is_named(tmp_path, name):
    datalist = READERS[name][2]
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for folder, words in (("none", "none does not exist"), ("file", "is a file"), ("empty", "expected")):
        with pytest.raises(FileNotFoundError, match=words):
            datalist(tmp_path / folder)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((39,), np.uint8), "train-labels.* holds 39 labels, expected one for each of 40 images"),
        (np.full((40,), 10, np.uint8), "train-labels.* holds the label 10 at image 0, expected 0 to 9"),
        (np.zeros((40, 1), np.uint8), r"train-labels.* holds labels of shape \(40, 1\)"),
    ],
)
def test_wrong_labels_are_named(tmp_path, array, words):
    write_fashion_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(array))
    with pytest.raises(ValueError, match=words):
        read_fashion_mnist(tmp_path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((40, 28, 27), np.uint8), r"holds images of shape \(40, 1, 28, 27\), expected .* \(1, 28, 28\)"),
        (np.zeros((40, 784), np.uint8), r"holds images of shape \(40, 784\)"),
        (np.zeros((40, 28, 28), np.float64), "holds images of type float64, expected uint8"),
        (np.zeros((0, 28, 28), np.uint8), "x_train of .* holds no images, expected at least one"),
    ],
)
def test_wrong_images_are_named(tmp_path, array, words):
    write_fashion_mnist_npz(tmp_path, x_train=array)
    with pytest.raises(ValueError, match=words):
        read_fashion_mnist(tmp_path)


def test_a_damaged_npz_or_one_with_objects_is_refused(tmp_path):
    file = write_fashion_mnist_npz(tmp_path) / "fashion_mnist.npz"
    whole = file.read_bytes()
    for content in (whole[:-30], b"no archive", b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"fashion_mnist.npz cannot be read"):
            read_fashion_mnist(tmp_path)
    flipped = bytearray(whole)
    flipped[5000] ^= 0xFF
    file.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"fashion_mnist.npz cannot be read.*CRC"):
        read_fashion_mnist(tmp_path)
    write_fashion_mnist_npz(tmp_path, y_test=np.array([Trap(tmp_path)] * 20, dtype=object))
    with pytest.raises(ValueError, match=r"fashion_mnist.npz cannot be read, expected NumPy arrays without objects"):
        read_fashion_mnist(tmp_path)
    assert not (tmp_path / "sprung").exists()
    np.savez(file, x_train=np.zeros(3))
    with pytest.raises(ValueError, match=r"fashion_mnist.npz cannot be used: y_train is not a file"):
        read_fashion_mnist(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": None}, "has no array y"),
        ({"X": np.zeros((32, 32, 3), np.uint8)}, r"holds images of shape \(32, 32, 3\), expected \(32, 32, 3, n\)"),
        ({"X": np.zeros((3, 32, 32, 20), np.uint8)}, r"holds images of shape \(20, 32, 3, 32\)"),
        ({"X": np.zeros((32, 32, 3, 20))}, "holds images of type float64"),
        ({"y": np.zeros((20, 1), np.uint8)}, "holds the label 0 at image 0, expected 1 to 10"),
        ({"y": np.full((20, 1), 11, np.uint8)}, "holds the label 11"),
        ({"y": np.ones((19, 1), np.uint8)}, "holds 19 labels, expected one for each of 20 images"),
        ({"y": np.full((20, 1), 1.5)}, r"holds labels of shape \(20,\) and type float64"),
    ],
)
def test_a_wrong_svhn_file_is_named(tmp_path, change, words):
    content = {"X": np.zeros((32, 32, 3, 20), np.uint8), "y": np.ones((20, 1), np.uint8), **change}
    write_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", {name: array for name, array in content.items() if array is not None})
    with pytest.raises(ValueError, match=f"test_32x32.mat {words}"):
        read_svhn(tmp_path)


def test_a_damaged_svhn_file_is_named(tmp_path):
    file = write_svhn(tmp_path) / "train_32x32.mat"
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"no matlab file", b"", b"\x89HDF\r\n\x1a\n" + bytes(600)):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"train_32x32.mat (cannot be read|has no array)"):
            read_svhn(tmp_path)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, folder):
        self.command = f"touch {folder}/sprung"

    def __reduce__(self):
        return os.system, (self.command,)


class Named:
    """Unpickling it calls what has this name."""

    def __init__(self, value, *arguments):
        self.reduced = (value, arguments)

    def __reduce__(self):
        return self.reduced


ROWS = np.zeros((2, 3072), np.uint8)
CIFAR_FILES = [("cifar10", "data_batch_3", "labels"), ("cifar100", "train", "fine_labels"), ("cifar100", "meta", "x")]


@pytest.mark.parametrize(("data_set", "file", "key"), CIFAR_FILES)
def test_a_pickle_that_runs_something_is_refused_before_it_does(tmp_path, data_set, file, key):
    write, read, _, _ = READERS[data_set]
    write(tmp_path)
    (target,) = tmp_path.rglob(file)
    for name, evil in [
        ("posix.system", Trap(tmp_path)),
        ("(builtins|__builtin__).eval", Named(eval, f"open('{tmp_path}/sprung', 'w')")),
        ("(builtins|__builtin__).getattr", Named(getattr, "x", "upper")),
        ("numpy.load", Named(np.load, f"{tmp_path}/x.npy")),
        ("numpy.lib.npyio.NpzFile", b"\x80\x02cnumpy.lib.npyio\nNpzFile\n."),
        ("__builtin__.eval", b"\x80\x02c__builtin__\neval\n(S'1'\ntR."),
        ("numpy.ndarray.tofile", b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."),
    ]:
        for protocol in (2, 5):
            content = evil if isinstance(evil, bytes) else pickle.dumps({"data": ROWS, key: evil}, protocol)
            target.write_bytes(content)
            with pytest.raises(ValueError, match=f"{file} cannot be read, .*it names {name}") as caught:
                read(tmp_path)
            assert "\n" not in str(caught.value)
            assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [str, str.encode])
def test_batches_of_any_pickle_protocol_are_read(tmp_path, protocol, key):
    folder = write_cifar10(tmp_path) / "cifar-10-batches-py"
    image, label = images("test", (3, 32, 32))
    content = {key("data"): image.reshape(-1, 3072), key("labels"): label.tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
    assert np.array_equal(read_cifar10(folder)[1].image, image)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cifar10", [1, 2], "holds no images"),
        ("cifar10", {"data": ROWS}, "holds no labels"),
        ("cifar10", {"data": ROWS[:, :3000], "labels": [0, 1]}, "holds no images, expected rows of 3072 values"),
        ("cifar10", {"data": ROWS.astype(float), "labels": [0, 1]}, "holds images of type float64"),
        ("cifar10", {"data": ROWS, "labels": [0]}, "holds 1 labels, expected one for each of 2 images"),
        ("cifar10", {"data": ROWS, "labels": [0, -1]}, "holds the label -1 at image 1"),
        ("cifar10", {"data": ROWS, "labels": [0, 2**70]}, r"holds labels of shape \(2,\) and type object"),
        ("cifar10", {"data": ROWS, "labels": [0, "1"]}, "holds no labels"),
        ("cifar10", {"data": ROWS[:0], "labels": []}, "holds no images, expected at least one"),
        ("cifar100", {"data": ROWS, "fine_labels": [99, 100]}, "holds the label 100 at image 1, expected 0 to 99"),
        ("cifar100", {"data": ROWS, "fine_labels": [0, -1]}, "holds the label -1 at image 1, expected 0 to 99"),
        ("cifar100", {"data": ROWS, "coarse_labels": [0, 1]}, "holds no labels, expected a list .* 'fine_labels'"),
        ("cifar100", {"data": ROWS, "fine_labels": [0]}, "holds 1 labels, expected one for each of 2 images"),
    ],
)
def test_a_wrong_cifar_batch_is_named(tmp_path, name, content, words):
    write, read, *_ = READERS[name]
    file = {"cifar10": "data_batch_2", "cifar100": "test"}[name]
    (target,) = write(tmp_path).rglob(file)
    target.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=f"{file} {words}"):
        read(tmp_path)


def test_a_damaged_cifar_batch_is_named(tmp_path):
    file = write_cifar10(tmp_path) / "cifar-10-batches-py" / "test_batch"
    whole = file.read_bytes()
    for content in (whole[:-100], b"", b"no pickle"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="test_batch cannot be read"):
            read_cifar10(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="has no test_batch, expected data_batch_1"):
        read_cifar10(tmp_path)


def test_cifar100_with_other_class_names_is_refused(tmp_path):
    """Else a class would be reported under another one's name."""
    meta = write_cifar100(tmp_path) / "cifar-100-python" / "meta"
    for names in (list(CIFAR100_CLASSES[::-1]), list(CIFAR100_CLASSES[:99]), "apple", None):
        meta.write_bytes(pickle.dumps({"fine_label_names": names}))
        with pytest.raises(ValueError, match=r"meta does not hold the names of the 100 classes of CIFAR-100"):
            read_cifar100(tmp_path)
    meta.write_bytes(pickle.dumps({b"fine_label_names": [name.encode() for name in CIFAR100_CLASSES]}, 2))
    assert len(read_cifar100(tmp_path)[0]) == 400


@pytest.mark.parametrize("inside", [False, True])
def test_the_other_cifar_in_a_folder_is_named_with_what_was_expected(tmp_path, inside):
    folders = {}
    for classes, write in ((10, write_cifar10), (100, write_cifar100)):
        (folders[classes],) = write(tmp_path / str(classes)).iterdir()
    given = {classes: root if inside else root.parent for classes, root in folders.items()}
    with pytest.raises(FileNotFoundError) as caught:
        cifar10_datalist(given[10], classes=100)
    assert str(caught.value) == (
        f"Folder {given[10]} has no train, test, meta, expected train, test, meta of CIFAR-100; it holds CIFAR-10, for "
        "classes 10."
    )
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_1, .* it holds CIFAR-100, for classes 100\.$"):
        cifar10_datalist(given[100])


def test_both_cifars_may_lie_in_one_folder(tmp_path):
    write_cifar100(write_cifar10(tmp_path))
    assert len(read_cifar10(tmp_path)[0]) == 40
    assert len(read_cifar100(tmp_path)[0]) == 400


def test_the_classes_have_names_and_only_10_or_100_are_taken(tmp_path):
    assert cifar_classes(10) == list(CIFAR10_CLASSES)
    assert cifar_classes(100) == list(CIFAR100_CLASSES)
    assert len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    for wrong in (20, 0, "100", None, 10.0, [10]):
        for use in (cifar_classes, lambda n: cifar10_datalist(None, classes=n)):
            with pytest.raises(ValueError, match=r"Got classes .*, expected 10 \(CIFAR-10\) or 100 \(CIFAR-100\)"):
                use(wrong)


def test_the_real_fashion_mnist_is_read_whole(real_data):
    found = fashion_mnist_datalist(real_data, subset=1000)
    assert {split: len(items) for split, items in found.items()} == {"train": 1000, "val": 5000, "test": 10000}
    for items in found.values():
        assert set(np.bincount([item["label"] for item in items])) == {len(items) // 10}


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3)])
def test_the_phantom_is_given_by_its_seed_and_drawn_quickly(size, channels):
    label = np.tile(np.arange(10), 200)
    started = time.process_time()
    one, same, other = (shapes_phantom(label, np.random.default_rng(seed), size, channels) for seed in (1, 1, 2))
    assert time.process_time() - started < 6
    assert one.dtype == np.uint8
    assert one.shape == (2000, channels, size, size)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_neither_a_linear_rule_nor_brightness_tells_the_shapes():
    label = np.tile(np.arange(10), 300)
    image = shapes_phantom(label, np.random.default_rng(0), 28).reshape(3000, -1) / 255.0
    design = np.c_[image, np.ones(3000)]
    ridge = design[:2000].T @ design[:2000] + 10 * np.eye(785)
    weights = np.linalg.solve(ridge, design[:2000].T @ (np.eye(10)[label[:2000]] - 0.1))
    right = ((design[2000:] @ weights).argmax(1) == label[2000:]).mean()
    assert 0.2 < right < 0.65
    by_class = np.array([image[label == k].mean() for k in range(10)])
    assert by_class.std() < 0.5 * image.mean(1).std()


@pytest.mark.parametrize("unset", [None, ""])
@pytest.mark.parametrize("name", ["fashion_mnist", "svhn", "cifar10", "cifar100"])
def test_without_data_the_log_says_synthetic_and_so_do_the_ids(caplog, name, unset):
    _, _, datalist, shape = READERS[name]
    classes = class_count(name)
    found = datalist(unset, 10, subset=5 * classes, test_subset=2 * classes)
    assert caplog.records[0].levelname == "WARNING"
    assert "SYNTHETIC" in caplog.records[0].message
    assert {split: len(items) / classes for split, items in found.items()} == {"train": 5, "val": 2, "test": 2}
    for split, items in found.items():
        assert {item["image"].shape for item in items} == {shape}
        assert all(item["sample_id"].startswith(f"synthetic-{split}-") for item in items)
        assert set(np.bincount([item["label"] for item in items])) == {len(items) // classes}
    whole = datalist(unset, {"train": 10, "val": 2, "test": 5})
    assert {split: len(items) / classes for split, items in whole.items()} == {"train": 10, "val": 2, "test": 5}
    rows = {item["sample_id"]: item["image"] for item in whole["train"]}
    assert all(np.array_equal(item["image"], rows[item["sample_id"]]) for item in found["train"])
    flat = [items[k]["image"].tobytes() for items in whole.values() for k in range(len(items))]
    assert len(set(flat)) == 17 * classes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 28, 1), "per_class 0"),
        (({"train": 3}, 28, 1), "per_class"),
        ((3, 8, 1), "size 8"),
        ((3, 28, 0), "channels 0"),
        ((3, 28, 1, -1), "phantom_seed -1"),
        ((3, 28, 1, 0, 31), "subset 31"),
        ((3, 28, 3, 0, None, None, 0, 20), "Got classes 20, expected 10 or 100"),
        ((3, 28, 1, 0, None, None, 0, 100), "Got channels 1, expected 3 for 100 classes"),
    ],
)
def test_bad_settings_of_the_phantom_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        shapes_datalist(*arguments)
    with pytest.raises(ValueError, match="Got labels"):
        shapes_phantom(np.array([len(SHAPES)]), np.random.default_rng(0))


def test_a_hundred_classes_are_ten_shapes_in_ten_hues():
    """The brightest tenth, less the border's colour, has the class's hue; the same draws give the same shapes."""
    label = np.repeat(np.arange(100), 20)
    image = shapes_phantom(label, np.random.default_rng(3), 32, 3, classes=100) / 255.0
    border = np.concatenate([image[:, :, :3].reshape(2000, 3, -1), image[:, :, -3:].reshape(2000, 3, -1)], axis=2)
    shape = image - np.median(border, axis=2)[:, :, None, None]
    bright = shape.mean(1) > np.quantile(shape.mean(1), 0.9, axis=(1, 2), keepdims=True)
    red, green, blue = ((channel * bright).sum((1, 2)) for channel in shape.transpose(1, 0, 2, 3))
    angle = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    off = (angle - 36 * (label // 10) + 180) % 360 - 180
    assert abs(np.median(off)) < 3
    assert (abs(off) < 18).mean() > 0.9
    grey, hued = (
        shapes_phantom(np.arange(10), np.random.default_rng(5), 32, 3),
        shapes_phantom(np.arange(10) + 40, np.random.default_rng(5), 32, 3, classes=100),
    )
    for one, other in zip(grey, hued, strict=True):
        assert np.corrcoef(one.mean(0).ravel(), other.mean(0).ravel())[0, 1] > 0.8
