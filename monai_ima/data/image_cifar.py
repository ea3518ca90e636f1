"""Reader for CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their Python version: 32 x 32 colour images."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .folders import dataset_folder
from .labelled_images import LabelledImages, labelled_images, require_files

__all__ = ["CIFAR10_CLASSES", "CIFAR100_CLASSES", "cifar_classes", "read_cifar10", "read_cifar100"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# fmt: off
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)
# fmt: on
"""The fine classes, as the published file ``meta`` names them."""

SHAPE = (3, 32, 32)

TRAIN_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))


@dataclass(frozen=True)
class _Edition:
    """Files of one of the two data sets.

    Attributes:
        name: of the data set.
        classes: names of its classes.
        folder: in the published archive.
        train: names of the files of training images.
        test: name of the file of test images.
        meta: name of the file with the classes' names that is read; None for none.
        labels: key of the labels in a file.
    """

    name: str
    classes: tuple[str, ...]
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str | None
    labels: str

    @property
    def files(self) -> list[str]:
        return [*self.train, self.test, *([self.meta] if self.meta else [])]


EDITIONS = {
    10: _Edition("CIFAR-10", CIFAR10_CLASSES, "cifar-10-batches-py", TRAIN_BATCHES, "test_batch", None, "labels"),
    100: _Edition("CIFAR-100", CIFAR100_CLASSES, "cifar-100-python", ("train",), "test", "meta", "fine_labels"),
}

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


def cifar_classes(classes: int = 10) -> list[str]:
    """Names of the classes of CIFAR-10 or CIFAR-100.

    Args:
        classes: how many, 10 or 100.

    Raises:
        ValueError: for another number.

    Example:
        >>> cifar_classes(100)[:3]
        ['apple', 'aquarium_fish', 'baby']
    """
    if not isinstance(classes, int) or classes not in EDITIONS:
        raise ValueError(f"Got classes {classes!r}, expected 10 (CIFAR-10) or 100 (CIFAR-100).")
    return list(EDITIONS[classes].classes)


def read_cifar10(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with ``data_batch_1`` to ``data_batch_5`` and ``test_batch``.

    These files are pickles. Nothing but arrays, containers, strings and numbers is taken out of them: a file that names
    anything else is refused before that is loaded or run.

    Args:
        dataset_dir: the folder, or the one that holds it as ``cifar-10-batches-py``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file is damaged or holds something else.
    """
    return _read_edition(dataset_dir, EDITIONS[10])


def read_cifar100(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with ``train``, ``test`` and ``meta``, labels of the 100 fine classes.

    Pickles, read as those of :func:`read_cifar10` are.

    Args:
        dataset_dir: the folder, or the one that holds it as ``cifar-100-python``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file is damaged or holds something else.
    """
    return _read_edition(dataset_dir, EDITIONS[100])


class _ArraysOnly(pickle.Unpickler):
    """Takes nothing out of a pickle but what ``ALLOWED`` names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _read_edition(dataset_dir: str | os.PathLike, edition: _Edition) -> tuple[LabelledImages, LabelledImages]:
    root = _root(dataset_dir, edition)
    if edition.meta:
        _check_names(root / edition.meta, edition)
    parts = [_read(root / name, edition) for name in edition.train]
    train = LabelledImages(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "label")))
    return train, _read(root / edition.test, edition)


def _root(dataset_dir: str | os.PathLike, edition: _Edition) -> Path:
    """The folder that holds the edition's files; where another edition's are there instead, the error says so."""
    given = dataset_folder(dataset_dir)
    root = _inside(given, edition)
    try:
        require_files(root, edition.files)
    except FileNotFoundError as error:
        for classes, other in EDITIONS.items():
            if other is not edition and (_inside(given, other) / other.test).is_file():
                raise FileNotFoundError(
                    f"{str(error).removesuffix('.')} of {edition.name}; it holds {other.name}, for classes {classes}."
                ) from None
        raise
    return root


def _inside(folder: Path, edition: _Edition) -> Path:
    return folder / edition.folder if (folder / edition.folder).is_dir() else folder


def _check_names(file: Path, edition: _Edition) -> None:
    names = _unpickled(file).get("fine_label_names")
    if not isinstance(names, list) or tuple(map(_text, names)) != edition.classes:
        raise ValueError(
            f"File {file} does not hold the names of the {len(edition.classes)} classes of {edition.name} under "
            f"'fine_label_names', expected {', '.join(edition.classes[:2])} ... {edition.classes[-1]}."
        )


def _read(file: Path, edition: _Edition) -> LabelledImages:
    batch = _unpickled(file)
    image, label = batch.get("data"), batch.get(edition.labels)
    if not isinstance(image, np.ndarray) or image.ndim != 2 or image.shape[1] != np.prod(SHAPE):
        raise ValueError(f"File {file} holds no images, expected rows of {np.prod(SHAPE)} values under 'data'.")
    if not isinstance(label, list) or not all(isinstance(value, int) for value in label):
        raise ValueError(f"File {file} holds no labels, expected a list of integers under '{edition.labels}'.")
    pixels, classes = image.reshape(-1, *SHAPE), len(edition.classes)
    return labelled_images(pixels, np.array(label), SHAPE, f"File {file}", class_count=classes)


def _unpickled(file: Path) -> dict[object, Any]:
    """The dictionary in a file, its keys as strings; empty when it holds something else."""
    try:
        with open(file, "rb") as stream:
            content = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:
        raise ValueError(
            f"File {file} cannot be read, expected a pickle of arrays, lists and strings only: {error}."
        ) from error
    return {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _text(value: object) -> object:
    return value.decode("latin1") if isinstance(value, bytes) else value
