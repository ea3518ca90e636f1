"""Reader for the cropped house numbers of SVHN (Netzer et al. 2011): 32 x 32 colour images of digits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from .folders import dataset_folder
from .labelled_images import LabelledImages, labelled_images, require_files

__all__ = ["SVHN_CLASSES", "read_svhn"]

SVHN_CLASSES = tuple(str(digit) for digit in range(10))

SHAPE = (3, 32, 32)

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


def read_svhn(dataset_dir: str | os.PathLike) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images of a folder with ``train_32x32.mat`` and ``test_32x32.mat``.

    The files' label 10, the digit 0, becomes 0. Digits are not equally frequent.

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
    image = np.ascontiguousarray(image.transpose(3, 2, 0, 1))
    found = labelled_images(image, label, SHAPE, f"File {file}", first_label=1)
    return LabelledImages(found.image, found.label % len(SVHN_CLASSES))
