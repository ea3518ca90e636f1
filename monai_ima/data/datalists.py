"""Data lists for the bundles: the files of a folder, or the SYNTHETIC phantom when no folder is given."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from monai_ima.utils.checks import check_bool

from .class_folders import class_folder_datalist
from .ecg_heartbeat import balanced, heartbeat_datalist, summarize_beats
from .ecg_phantom import ecg_phantom_datalist
from .folders import Datalist
from .image_cifar import cifar_classes, read_cifar10, read_cifar100
from .image_fashion_mnist import read_fashion_mnist
from .image_labelled import labelled_image_datalist
from .image_phantom import shapes_datalist, write_shapes_phantom
from .image_svhn import read_svhn
from .labelled_images import split_images
from .oct_phantom import write_oct_phantom
from .phantom import check_phantom
from .volume_msd import msd_datalist
from .volume_phantom import volume_task, write_volume_phantom

__all__ = [
    "cifar10_datalist",
    "ecg_datalist",
    "fashion_mnist_datalist",
    "image_folder_datalist",
    "oct_datalist",
    "svhn_datalist",
    "volume_datalist",
]

IMAGES = {
    "fashion_mnist": (read_fashion_mnist, (1, 28), 10),
    "svhn": (read_svhn, (3, 32), 10),
    "cifar10": (read_cifar10, (3, 32), 10),
    "cifar100": (read_cifar100, (3, 32), 100),
}
"""By name: the reader of a folder, channels and side of the images, number of classes."""

logger = logging.getLogger(__name__)


def ecg_datalist(
    dataset_dir: str | os.PathLike | None,
    val_fraction: float = 0.2,
    balance: bool = False,
    seed: int = 0,
    phantom_beats: Mapping[str, int] | int = 1000,
    phantom_seed: int = 0,
) -> Datalist:
    """:func:`heartbeat_datalist` of a folder, or SYNTHETIC beats when no folder is given.

    Args:
        dataset_dir: folder of heartbeat CSV files; None or "" means the phantom.
        val_fraction: see :func:`heartbeat_datalist`.
        balance: True to up-sample the training beats, see :func:`balanced`.
        seed: of the validation split and the up-sampling.
        phantom_beats: see :func:`ecg_phantom_datalist`.
        phantom_seed: see :func:`ecg_phantom_datalist`.

    Raises:
        ValueError: if ``balance`` is no bool, and as :func:`heartbeat_datalist` and :func:`ecg_phantom_datalist` do.
        FileNotFoundError: as :func:`heartbeat_datalist` does.
    """
    check_bool("balance", balance)
    if dataset_dir not in (None, ""):
        datalist = heartbeat_datalist(dataset_dir, val_fraction, seed)
    else:
        logger.warning("No dataset_dir was given: these are SYNTHETIC beats (ECG phantom, seed %d).", phantom_seed)
        datalist = ecg_phantom_datalist(phantom_beats, phantom_seed)
        logger.info("SYNTHETIC beats:\n%s", summarize_beats(datalist))
    if balance:
        datalist["train"] = balanced(datalist["train"], seed)
    return datalist


def image_datalist(
    name: str,
    dataset_dir: str | os.PathLike | None,
    phantom_per_class: Mapping[str, int] | int = 100,
    val_count: int = 5000,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
    phantom_seed: int = 0,
) -> Datalist:
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
    read, (channels, side), classes = IMAGES[name]
    if dataset_dir in (None, ""):
        return shapes_datalist(phantom_per_class, side, channels, phantom_seed, subset, test_subset, seed, classes)
    return split_images(*read(dataset_dir), val_count, subset, test_subset, seed)


fashion_mnist_datalist = partial(image_datalist, "fashion_mnist")
svhn_datalist = partial(image_datalist, "svhn")


def cifar10_datalist(
    dataset_dir: str | os.PathLike | None, *arguments: Any, classes: int = 10, **options: Any
) -> Datalist:
    """:func:`image_datalist` of CIFAR-10 or CIFAR-100.

    Args:
        dataset_dir: the folder; None or "" means the phantom.
        arguments: of :func:`image_datalist`, from ``phantom_per_class`` on.
        classes: 10 for CIFAR-10; 100 for CIFAR-100 (fine classes), whose phantom has the ten shapes in ten hues.
        options: the same as ``arguments`` by name, such as ``val_count``, ``subset`` and ``seed``.
    """
    return image_datalist(f"cifar{len(cifar_classes(classes))}", dataset_dir, *arguments, **options)


def oct_datalist(
    dataset_dir: str | os.PathLike | None,
    phantom_dir: str | os.PathLike,
    phantom_per_class: Mapping[str, int] | int = 100,
    phantom_size: int = 224,
    phantom_seed: int = 0,
    **kwargs: Any,
) -> Datalist:
    """:func:`class_folder_datalist` of a folder, or of the SYNTHETIC phantom when no folder is given.

    Of several processes one writes the phantom while the others wait.

    Args:
        dataset_dir: folder of class folders, such as one in Kermany's layout; None or "" means the phantom.
        phantom_dir: where the phantom is written, or found again.
        phantom_per_class: see :func:`write_oct_phantom`.
        phantom_size: see :func:`write_oct_phantom`.
        phantom_seed: see :func:`write_oct_phantom`.
        kwargs: further arguments of :func:`class_folder_datalist`. With the phantom those on patients are ignored,
            since its files are named as Kermany's are.

    Raises:
        ValueError: as :func:`class_folder_datalist` and :func:`write_oct_phantom` do.
        OSError: as these do, when a folder is missing, empty, or in use for something else.
    """
    if dataset_dir not in (None, ""):
        return class_folder_datalist(dataset_dir, **kwargs)
    logger.warning("No dataset_dir was given: these are SYNTHETIC scans (OCT phantom, seed %d).", phantom_seed)
    root = write_oct_phantom(phantom_dir, phantom_per_class, phantom_size, phantom_seed)
    return class_folder_datalist(root, **{**kwargs, "patient_pattern": None, "patient_csv": None})


def image_folder_datalist(
    dataset_dir: str | os.PathLike | None,
    phantom_dir: str | os.PathLike,
    phantom_per_class: Mapping[str, int] | int = 100,
    phantom_size: int = 224,
    phantom_channels: int = 1,
    phantom_seed: int = 0,
    phantom: bool = True,
    **kwargs: Any,
) -> Datalist:
    """:func:`labelled_image_datalist` of a folder or table, or of the SYNTHETIC phantom when none is given.

    Of several processes one writes the phantom while the others wait.

    Args:
        dataset_dir: folder of class folders, or CSV file; None or "" means the phantom.
        phantom_dir: where the phantom is written, or found again.
        phantom_per_class: see :func:`write_shapes_phantom`.
        phantom_size: see :func:`write_shapes_phantom`.
        phantom_channels: see :func:`write_shapes_phantom`.
        phantom_seed: see :func:`write_shapes_phantom`.
        phantom: it may stand in for data; False for weights that were trained on pictures of one's own.
        kwargs: further arguments of :func:`labelled_image_datalist`. With the phantom those on patients and ``split``
            are ignored, since it has a split of its own.

    Raises:
        ValueError: as :func:`labelled_image_datalist` and :func:`write_shapes_phantom` do, and if there are no data and
            no ``phantom``.
        OSError: as these do, when a folder is missing, empty, or in use for something else.
    """
    if dataset_dir not in (None, ""):
        return labelled_image_datalist(dataset_dir, **kwargs)
    check_phantom(phantom, "dataset_dir")
    logger.warning("No dataset_dir was given: these are SYNTHETIC pictures (shapes, seed %d).", phantom_seed)
    root = write_shapes_phantom(phantom_dir, phantom_per_class, phantom_size, phantom_channels, phantom_seed)
    return labelled_image_datalist(root, **{**kwargs, "patient_pattern": None, "patient_csv": None, "split": None})


def volume_datalist(
    task: str,
    dataset_dir: str | os.PathLike | None,
    phantom_dir: str | os.PathLike,
    phantom_scans: int = 12,
    phantom_size: int | Sequence[int] | None = None,
    phantom_seed: int = 0,
    **kwargs: Any,
) -> Datalist:
    """:func:`msd_datalist` of a folder, or of the SYNTHETIC phantom when no folder is given.

    Of several processes one writes the phantom while the others wait.

    Args:
        task: "hippocampus", "heart" or "prostate".
        dataset_dir: folder in MSD layout; None or "" means the phantom.
        phantom_dir: where the phantom is written, or found again.
        phantom_scans: see :func:`write_volume_phantom`.
        phantom_size: see :func:`write_volume_phantom`.
        phantom_seed: see :func:`write_volume_phantom`.
        kwargs: further arguments of :func:`msd_datalist`; ``channels`` and ``classes`` are the task's unless given.
            With the phantom ``split`` and those on patients are ignored, since its scans have other names.

    Raises:
        ValueError: as :func:`msd_datalist` and :func:`write_volume_phantom` do.
        OSError: as these do, when a folder or file is missing or in use for something else.
    """
    settings = volume_task(task)
    arguments = {"channels": len(settings.modality), "classes": len(settings.labels), **kwargs}
    if dataset_dir not in (None, ""):
        return msd_datalist(dataset_dir, **arguments)
    logger.warning("No dataset_dir was given: these are SYNTHETIC scans (%s phantom, seed %d).", task, phantom_seed)
    root = write_volume_phantom(phantom_dir, task, phantom_scans, phantom_size, phantom_seed)
    return msd_datalist(root, **{**arguments, "split": None, "patient_pattern": None, "patient_csv": None})
