"""Small labelled images in memory: the checks that every reader makes, and class-balanced splits given by a seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_ima.utils.checks import MAX_SEED, check_count

from .folders import Datalist, Item

__all__ = [
    "LabelledImages",
    "balanced_order",
    "first_rows",
    "image_items",
    "labelled_images",
    "require_files",
    "split_images",
]


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes, in the order of their file.

    Attributes:
        image: uint8 ``[N, C, H, W]``, 0..255.
        label: int64 ``[N]``, from 0 on.

    Example:
        >>> len(LabelledImages(np.zeros((2, 1, 28, 28), np.uint8), np.array([3, 7])))
        2
    """

    image: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


def labelled_images(
    image: np.ndarray,
    label: np.ndarray,
    shape: Sequence[int],
    image_source: str | os.PathLike,
    label_source: str | os.PathLike | None = None,
    first_label: int = 0,
    class_count: int = 10,
) -> LabelledImages:
    """Check what a reader found.

    Args:
        image: uint8 ``[N, C, H, W]``.
        label: integers ``[N]``.
        shape: expected ``(C, H, W)``.
        image_source: names the images in errors.
        label_source: names the labels in errors; None means ``image_source``.
        first_label: labels run from here on; they are returned as they are.
        class_count: how many labels there are.

    Raises:
        ValueError: if types, shapes or labels differ from these, or there are not as many labels as images, or none.
    """
    label_source = image_source if label_source is None else label_source
    if image.dtype != np.uint8:
        raise ValueError(f"{image_source} holds images of type {image.dtype}, expected uint8.")
    if image.ndim != 4 or image.shape[1:] != tuple(shape):
        raise ValueError(
            f"{image_source} holds images of shape {image.shape}, expected channels, height and width {tuple(shape)}."
        )
    if len(image) == 0:
        raise ValueError(f"{image_source} holds no images, expected at least one.")
    if label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(
            f"{label_source} holds labels of shape {label.shape} and type {label.dtype}, expected one integer an image."
        )
    if len(image) != len(label):
        raise ValueError(f"{label_source} holds {len(label)} labels, expected one for each of {len(image)} images.")
    last_label = first_label + class_count - 1
    wrong = (label < first_label) | (label > last_label)
    if wrong.any():
        row = int(wrong.argmax())
        found = f"the label {label[row]} at image {row}"
        raise ValueError(f"{label_source} holds {found}, expected {first_label} to {last_label}.")
    return LabelledImages(image, label.astype(np.int64))


def require_files(root: Path, names: Sequence[str]) -> None:
    """Make sure that files are there.

    Raises:
        FileNotFoundError: when some are not; the sentence names all of them.
    """
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise FileNotFoundError(f"Folder {root} has no {', '.join(missing)}, expected {', '.join(names)}.")


def split_images(
    train: LabelledImages,
    test: LabelledImages,
    val_count: int,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
) -> Datalist:
    """Split validation images off the training images, and limit both sets where a number is given.

    Images are drawn in :func:`balanced_order`: the first ``val_count`` validate, the next ``subset`` train. A smaller
    subset is part of every larger one. Where the classes are not equally frequent, a subset is more balanced than the
    whole set, and so is the accuracy that is measured on it.

    Args:
        train: the data set's training images.
        test: its test images.
        val_count: number of validation images, from 1 to one less than there are training images.
        subset: number of training images; None for all that are left.
        test_subset: number of test images; None for all.
        seed: of the order, >= 0.

    Returns:
        for each of train, val and test the items in the order of the file. ``sample_id`` is the place in the data set's
        own file, such as ``train-00017``; validation images were training images and are called so.

    Raises:
        ValueError: if a number is out of its range.
    """
    order = balanced_order(train.label, seed)
    if not isinstance(val_count, int) or not 1 <= val_count < len(train):
        raise ValueError(f"Got val_count {val_count}, expected an integer from 1 to {len(train) - 1}.")
    return {
        "train": image_items(train, "train", first_rows("subset", subset, order[val_count:])),
        "val": image_items(train, "train", order[:val_count]),
        "test": image_items(test, "test", first_rows("test_subset", test_subset, balanced_order(test.label, seed))),
    }


def balanced_order(label: np.ndarray, seed: int) -> np.ndarray:
    """A random order in which the classes take turns while they last.

    Args:
        label: classes, int ``[N]``.
        seed: >= 0.

    Returns:
        int ``[N]``, rows; among the first n each class is there equally often, give or take one, unless it is used up.

    Raises:
        ValueError: if the seed is negative.
    """
    seed = check_count("seed", seed, 0, MAX_SEED)
    shuffled = np.random.default_rng(seed).permutation(len(label))
    turn = np.empty(len(label), dtype=np.int64)
    for name in np.unique(label):
        own = label[shuffled] == name
        turn[own] = np.arange(own.sum())
    return shuffled[np.argsort(turn, kind="stable")]


def image_items(images: LabelledImages, prefix: str, rows: np.ndarray) -> list[Item]:
    """Items of the chosen rows, in the order of the file.

    Args:
        images: to choose from.
        prefix: sample ids are ``{prefix}-{row}``.
        rows: int ``[n]``.
    """
    return [
        {"image": images.image[row], "label": int(images.label[row]), "sample_id": f"{prefix}-{row:05d}"}
        for row in sorted(rows.tolist())
    ]


def first_rows(name: str, count: int | None, order: np.ndarray) -> np.ndarray:
    """The first ``count`` rows of an order; None for all.

    Args:
        name: of the number, for errors.
        count: from 1 to the number of rows, or None.
        order: int ``[N]``, rows.

    Raises:
        ValueError: if the number is out of its range.
    """
    if count is not None and (not isinstance(count, int) or not 1 <= count <= len(order)):
        raise ValueError(f"Got {name} {count}, expected an integer from 1 to {len(order)}, or None for all.")
    return order[:count]
