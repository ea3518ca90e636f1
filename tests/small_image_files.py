"""Small files in the formats of Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100, pictures and tables, for the tests."""

from __future__ import annotations

import csv
import gzip
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy.io import savemat

from monai_ima.data import CIFAR100_CLASSES

_Pickler: Any = pickle._Pickler

PER_CLASS = {"train": 4, "test": 2}


def images(split: str, shape: tuple[int, ...], classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Noise uint8 ``[N, *shape]`` and labels that take turns."""
    count = PER_CLASS[split] * classes
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), (np.arange(count) % classes).astype(np.uint8)


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    header = struct.pack(f">2xBB{array.ndim}I", code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_fashion_mnist(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("test", "t10k")):
        image, label = images(split, (28, 28))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(image)))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(label)))
    return folder


def write_fashion_mnist_npz(folder: Path, **changes: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split in PER_CLASS:
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images(split, (28, 28))
    np.savez(folder / "fashion_mnist.npz", **{**arrays, **changes})
    return folder


def write_svhn(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in PER_CLASS:
        image, label = images(split, (3, 32, 32))
        content = {"X": image.transpose(2, 3, 1, 0), "y": np.where(label == 0, 10, label)[:, None].astype(np.uint8)}
        savemat(folder / f"{split}_32x32.mat", content, do_compression=True)
    return folder


class Python2Pickler(_Pickler):
    """Writes bytes and texts as Python 2 did in the published files: with the opcode of its ``str``."""

    dispatch: ClassVar = dict(_Pickler.dispatch)

    def save_str2(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_str2

    def save_global(self, value: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if getattr(value, "__name__", "") == "_reconstruct" else "numpy"
        self.write(pickle.GLOBAL + f"{module}\n{name or value.__name__}\n".encode())
        self.memoize(value)

    dispatch[type] = save_global


def write_cifar10(folder: Path) -> Path:
    root = folder / "cifar-10-batches-py"
    root.mkdir(parents=True, exist_ok=True)
    image, label = images("train", (3072,))
    batches = {f"data_batch_{k + 1}": (image[8 * k : 8 * k + 8], label[8 * k : 8 * k + 8]) for k in range(5)}
    batches["test_batch"] = images("test", (3072,))
    for name, (rows, classes) in batches.items():
        content = {"batch_label": name, "labels": classes.tolist(), "data": rows, "filenames": ["a.png"] * len(rows)}
        with open(root / name, "wb") as file:
            Python2Pickler(file, protocol=2).dump(content)
    return folder


def write_cifar100(folder: Path) -> Path:
    root = folder / "cifar-100-python"
    root.mkdir(parents=True, exist_ok=True)
    contents = {"meta": {"fine_label_names": list(CIFAR100_CLASSES), "coarse_label_names": ["fish", "flowers"]}}
    for name in PER_CLASS:
        rows, fine = images(name, (3072,), 100)
        contents[name] = {
            "filenames": ["a.png"] * len(rows),
            "batch_label": f"{name} batch 1 of 1",
            "fine_labels": fine.tolist(),
            "coarse_labels": (fine // 5).tolist(),
            "data": rows,
        }
    for name, content in contents.items():
        with open(root / name, "wb") as file:
            Python2Pickler(file, protocol=2).dump(content)
    return folder


def write_pictures(root, names, size=8):
    """Grey pictures, brighter in the middle where the class folder is called scar."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (size, size), dtype=np.uint8)
        pixels[size // 4 : -size // 4, size // 4 : -size // 4] += 150 * ("scar" in name)
        Image.fromarray(pixels).save(root / name)
    return root


def write_table(file, rows, columns=("file", "patient")):
    with open(file, "w", newline="") as content:
        csv.writer(content).writerows([columns, *rows])
    return file
