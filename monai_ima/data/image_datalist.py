"""Small images for the bundles: the files of a folder, or the synthetic phantom when there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from .image_cifar import cifar_classes, read_cifar10, read_cifar100
from .image_fashion_mnist import read_fashion_mnist
from .image_phantom import shapes_datalist
from .image_splits import Item, split_images
from .image_svhn import read_svhn

__all__ = ["cifar10_datalist", "fashion_mnist_datalist", "image_datalist", "svhn_datalist"]

DATA_SETS = {
    "fashion_mnist": (read_fashion_mnist, (1, 28), 10),
    "svhn": (read_svhn, (3, 32), 10),
    "cifar10": (read_cifar10, (3, 32), 10),
    "cifar100": (read_cifar100, (3, 32), 100),
}
"""By name: the reader of a folder, channels and side of the images, number of classes."""


def image_datalist(
    name: str,
    dataset_dir: str | os.PathLike | None,
    phantom_per_class: Mapping[str, int] | int = 100,
    val_count: int = 5000,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
    phantom_seed: int = 0,
) -> dict[str, list[Item]]:
    """The images of a folder, or SYNTHETIC ones when no folder is given.

    ``fashion_mnist_datalist`` and ``svhn_datalist`` are this function with the first argument filled in.

    Args:
        name: of the data set: "fashion_mnist", "svhn", "cifar10" or "cifar100".
        dataset_dir: the folder, as for the data set's reader (:func:`read_fashion_mnist`, ...); None or "" means the
            phantom.
        phantom_per_class: see :func:`shapes_datalist`.
        val_count: see :func:`split_images`; the phantom has validation images of its own.
        subset: see :func:`split_images`.
        test_subset: see :func:`split_images`.
        seed: of split and subsets, see :func:`split_images`.
        phantom_seed: see :func:`shapes_datalist`.

    Returns:
        for each of train, val and test a list of ``{"image": uint8 [C, H, W], "label": int, "sample_id": str}``.

    Raises:
        FileNotFoundError: if the folder or a file is missing.
        ValueError: if a file is damaged or a number out of its range.

    Example:
        >>> datalist = image_datalist("svhn", None, phantom_per_class=2)
        >>> {split: len(items) for split, items in datalist.items()}
        {'train': 20, 'val': 10, 'test': 10}
    """
    read, (channels, side), classes = DATA_SETS[name]
    if dataset_dir in (None, ""):
        return shapes_datalist(phantom_per_class, side, channels, phantom_seed, subset, test_subset, seed, classes)
    return split_images(*read(dataset_dir), val_count, subset, test_subset, seed)


fashion_mnist_datalist = partial(image_datalist, "fashion_mnist")
svhn_datalist = partial(image_datalist, "svhn")


def cifar10_datalist(
    dataset_dir: str | os.PathLike | None, *arguments: Any, classes: int = 10, **options: Any
) -> dict[str, list[Item]]:
    """:func:`image_datalist` of CIFAR-10 or CIFAR-100.

    Args:
        dataset_dir: the folder; None or "" means the phantom.
        arguments: of :func:`image_datalist`, from ``phantom_per_class`` on.
        classes: 10 for CIFAR-10; 100 for CIFAR-100 (fine classes), whose phantom has the ten shapes in ten hues.
        options: the same as ``arguments`` by name, such as ``val_count``, ``subset`` and ``seed``.
    """
    return image_datalist(f"cifar{len(cifar_classes(classes))}", dataset_dir, *arguments, **options)
