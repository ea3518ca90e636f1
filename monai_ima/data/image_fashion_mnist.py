"""Reader for Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 28 x 28 grey images of ten kinds of clothing."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .folders import dataset_folder
from .labelled_images import LabelledImages, labelled_images, require_files

__all__ = ["FASHION_MNIST_CLASSES", "read_fashion_mnist", "read_idx"]

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SHAPE = (1, 28, 28)

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The published files without ``.gz``: images and labels for training, then for the test."""

NPZ_FILE, NPZ_ARRAYS = "fashion_mnist.npz", ("x_train", "y_train", "x_test", "y_test")
"""The same in one file."""

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Types of the values by the third byte of an IDX file."""

GZIP_MAGIC = b"\x1f\x8b"


def read_fashion_mnist(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with the four published IDX files, compressed or not.

    Without any of these, ``fashion_mnist.npz`` with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` is
    read; its order, and so its sample ids, need not be those of the published files.

    Args:
        dataset_dir: the folder.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file is damaged or holds something else.
    """
    root = dataset_folder(dataset_dir)
    files = [root / name if (root / name).is_file() else root / f"{name}.gz" for name in IDX_FILES]
    if any(file.is_file() for file in files):
        require_files(root, [file.name for file in files])
        arrays, sources = [read_idx(file) for file in files], [f"File {file}" for file in files]
    elif (root / NPZ_FILE).is_file():
        arrays, sources = _read_npz(root / NPZ_FILE), [f"Array {name} of {root / NPZ_FILE}" for name in NPZ_ARRAYS]
    else:
        raise FileNotFoundError(
            f"Folder {root} holds no Fashion-MNIST, expected {IDX_FILES[0]}.gz and so on, or {NPZ_FILE}."
        )
    return _labelled(arrays[:2], sources[:2]), _labelled(arrays[2:], sources[2:])


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file: two zero bytes, type, number of dimensions, their sizes (big-endian), the values.

    Args:
        path: the file; one that is compressed by gzip is known by its first bytes, whatever its name.

    Returns:
        the array in the machine's own byte order.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, cut short, longer than its header says, or no IDX file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"File {file} does not exist, expected an IDX file.")
    content = _content(file)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES or content[3] == 0:
        raise ValueError(f"File {file} starts with the bytes {content[:4].hex()}, expected the header of an IDX file.")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"File {file} ends inside its header of {start} bytes, expected the sizes of the array there.")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(IDX_TYPES[content[2]])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"File {file} holds {len(content)} bytes, expected {expected} for an array of shape {shape}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"File {file} cannot be decompressed: {error}.") from error


def _read_npz(file: Path) -> list[np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as content:
            return [content[name] for name in NPZ_ARRAYS]
    except KeyError as error:
        raise ValueError(f"File {file} cannot be used: {error.args[0]}, expected x_train, y_train, ...") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"File {file} cannot be read, expected NumPy arrays without objects: {error}.") from error


def _labelled(arrays: Sequence[np.ndarray], sources: Sequence[str]) -> LabelledImages:
    """Images and labels, and what names the two in errors."""
    image, label = arrays
    return labelled_images(image[:, None] if image.ndim == 3 else image, label, SHAPE, sources[0], sources[1])
