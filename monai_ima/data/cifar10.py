"""Reader for CIFAR-10 (Krizhevsky 2009) in its Python version: 32 x 32 colour images of ten kinds of things."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from .image_datalist import image_datalist
from .labelled_images import LabelledImages, dataset_folder, labelled_images, require_files
from .splits import Item

__all__ = ["CIFAR10_CLASSES", "CIFAR10_FOLDER", "cifar10_datalist", "read_cifar10"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR10_FOLDER = "cifar-10-batches-py"
"""Folder in the published archive."""

SHAPE = (3, 32, 32)

TRAIN_FILES = tuple(f"data_batch_{k}" for k in range(1, 6))
TEST_FILE = "test_batch"

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
"""All that a pickle may name: NumPy arrays, and bytes as Python 3 writes them in pickles for Python 2."""


def cifar10_datalist(dataset_dir: str | os.PathLike | None, *arguments: Any, **options: Any) -> dict[str, list[Item]]:
    """The images of a folder as for :func:`read_cifar10`, or SYNTHETIC ones: :func:`image_datalist`.

    Args:
        dataset_dir: the folder; None or "" means the phantom.
        arguments: of :func:`image_datalist`, from ``phantom_per_class`` on.
        options: the same by name, such as ``val_count``, ``subset`` and ``seed``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file or a number is not as expected.
    """
    return image_datalist(read_cifar10, SHAPE, dataset_dir, *arguments, **options)


def read_cifar10(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with ``data_batch_1`` to ``data_batch_5`` and ``test_batch``.

    These files are pickles. Nothing but arrays, containers, texts and numbers is taken out of them: a file that names
    anything else is refused before that is loaded or run.

    Args:
        dataset_dir: the folder, or the one that holds it as ``cifar-10-batches-py``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file is damaged or holds something else.
    """
    root = dataset_folder(dataset_dir)
    if (root / CIFAR10_FOLDER).is_dir():
        root = root / CIFAR10_FOLDER
    require_files(root, [*TRAIN_FILES, TEST_FILE])
    batches = [_read(root / name) for name in TRAIN_FILES]
    train = LabelledImages(*(np.concatenate([getattr(b, name) for b in batches]) for name in ("image", "label")))
    return train, _read(root / TEST_FILE)


class _ArraysOnly(pickle.Unpickler):
    """Takes nothing out of a pickle but what ``ALLOWED`` names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _read(file: Path) -> LabelledImages:
    try:
        with open(file, "rb") as stream:
            content = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:
        raise ValueError(
            f"File {file} cannot be read, expected a pickle of arrays, lists and texts only: {error}."
        ) from error
    batch = {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    image, label = batch.get("data"), batch.get("labels")
    if not isinstance(image, np.ndarray) or image.ndim != 2 or image.shape[1] != np.prod(SHAPE):
        raise ValueError(f"File {file} holds no images, expected rows of {np.prod(SHAPE)} values under 'data'.")
    if not isinstance(label, list) or not all(isinstance(value, int) for value in label):
        raise ValueError(f"File {file} holds no labels, expected a list of whole numbers under 'labels'.")
    return labelled_images(image.reshape(-1, *SHAPE), np.array(label), SHAPE, f"File {file}")


def _text(key: object) -> object:
    return key.decode("latin1") if isinstance(key, bytes) else key
