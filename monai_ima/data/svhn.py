"""Reader for the cropped house numbers of SVHN (Netzer et al. 2011): 32 x 32 colour images of digits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from .labelled_images import CLASS_COUNT, LabelledImages, dataset_folder, labelled_images, require_files
from .shapes_phantom import shapes_datalist
from .splits import Item, split_images

__all__ = ["SVHN_CLASSES", "read_svhn", "svhn_datalist"]

SVHN_CLASSES = tuple(str(digit) for digit in range(10))

SHAPE = (3, 32, 32)

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


def svhn_datalist(
    dataset_dir: str | os.PathLike | None,
    phantom_per_class: Mapping[str, int] | int = 100,
    val_count: int = 5000,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
    phantom_seed: int = 0,
) -> dict[str, list[Item]]:
    """The images of a folder, or SYNTHETIC ones when no folder is given.

    Args:
        dataset_dir: folder as for :func:`read_svhn`; None or "" means the phantom.
        phantom_per_class: see :func:`shapes_datalist`.
        val_count: see :func:`split_images`; the phantom has validation images of its own.
        subset: see :func:`split_images`.
        test_subset: see :func:`split_images`; digits are not equally frequent in SVHN.
        seed: of split and subsets, see :func:`split_images`.
        phantom_seed: see :func:`shapes_datalist`.

    Returns:
        for each of train, val and test a list of ``{"image": uint8 [3, 32, 32], "label": 0..9, "sample_id": str}``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file or a number is not as expected.
    """
    if dataset_dir in (None, ""):
        return shapes_datalist(phantom_per_class, SHAPE[1], SHAPE[0], phantom_seed, subset, test_subset, seed)
    train, test = read_svhn(dataset_dir)
    return split_images(train, test, val_count, subset, test_subset, seed)


def read_svhn(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with ``train_32x32.mat`` and ``test_32x32.mat``.

    The files' label 10, the digit 0, becomes 0.

    Args:
        dataset_dir: the folder.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file is damaged or holds something else.
    """
    root = dataset_folder(dataset_dir)
    require_files(root, list(FILES.values()))
    return _read(root / FILES["train"]), _read(root / FILES["test"])


def _read(file: Path) -> LabelledImages:
    try:
        content = loadmat(str(file), variable_names=("X", "y"))
    except Exception as error:
        raise ValueError(f"File {file} cannot be read, expected a MATLAB file: {error}.") from error
    for name in ("X", "y"):
        if not isinstance(content.get(name), np.ndarray):
            raise ValueError(f"File {file} has no array {name}, expected images in X and labels in y.")
    image, label = content["X"], content["y"]
    if image.ndim != 4:
        raise ValueError(f"File {file} holds images of shape {image.shape}, expected (32, 32, 3, n).")
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    found = labelled_images(
        np.ascontiguousarray(image.transpose(3, 2, 0, 1)), label, SHAPE, f"File {file}", first_label=1
    )
    return LabelledImages(found.image, found.label % CLASS_COUNT)
