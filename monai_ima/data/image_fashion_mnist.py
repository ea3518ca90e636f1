"""Reader for Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 28 x 28 grey images of ten kinds of clothing."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .folders import dataset_folder
from .image_idx import read_idx
from .labelled_images import LabelledImages, labelled_images, require_files

__all__ = ["FASHION_MNIST_CLASSES", "read_fashion_mnist"]

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

SHAPE = (1, 28, 28)

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Names of the published files without ``.gz``: images and labels."""

NPZ_FILE = "fashion_mnist.npz"
NPZ_ARRAYS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


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
    names = [name for pair in IDX_FILES.values() for name in pair]
    if any(_idx_file(root, name).is_file() for name in names):
        require_files(root, [_idx_file(root, name).name for name in names])
        return _read_idx(root, "train"), _read_idx(root, "test")
    if (root / NPZ_FILE).is_file():
        return _read_npz(root / NPZ_FILE)
    raise FileNotFoundError(f"Folder {root} holds no Fashion-MNIST, expected {names[0]}.gz and so on, or {NPZ_FILE}.")


def _idx_file(root: Path, name: str) -> Path:
    plain = root / name
    return plain if plain.is_file() else root / f"{name}.gz"


def _read_idx(root: Path, split: str) -> LabelledImages:
    image_file, label_file = (_idx_file(root, name) for name in IDX_FILES[split])
    image, label = read_idx(image_file), read_idx(label_file)
    return labelled_images(_with_channel(image), label, SHAPE, f"File {image_file}", f"File {label_file}")


def _read_npz(file: Path) -> tuple[LabelledImages, LabelledImages]:
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for pair in NPZ_ARRAYS.values() for name in pair}
    except KeyError as error:
        raise ValueError(f"File {file} cannot be used: {error.args[0]}, expected x_train, y_train, ...") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"File {file} cannot be read, expected NumPy arrays without objects: {error}.") from error

    def read(split: str) -> LabelledImages:
        image, label = NPZ_ARRAYS[split]
        sources = (f"Array {image} of {file}", f"Array {label} of {file}")
        return labelled_images(_with_channel(arrays[image]), arrays[label], SHAPE, *sources)

    return read("train"), read("test")


def _with_channel(image: np.ndarray) -> np.ndarray:
    return image[:, None] if image.ndim == 3 else image
