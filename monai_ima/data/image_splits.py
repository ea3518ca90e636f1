"""Training, validation and test images: class-balanced and given by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_ima.utils.checks import check_count

from .labelled_images import LabelledImages

__all__ = ["Item", "balanced_order", "first_balanced", "image_items", "split_images"]

Item = dict[str, Any]
"""``{"image": uint8 [C, H, W], "label": int, "sample_id": str}``"""


def split_images(
    train: LabelledImages,
    test: LabelledImages,
    val_count: int,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
) -> dict[str, list[Item]]:
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
    chosen = _first("subset", order[val_count:], subset)
    tested = _first("test_subset", balanced_order(test.label, seed), test_subset)
    return {
        "train": image_items(train, "train", chosen),
        "val": image_items(train, "train", order[:val_count]),
        "test": image_items(test, "test", tested),
    }


def first_balanced(images: LabelledImages, name: str, count: int | None, seed: int) -> np.ndarray:
    """Rows of the first ``count`` images in :func:`balanced_order`; None for all.

    Args:
        images: to choose from.
        name: of the number, for errors.
        count: from 1 to the number of images, or None.
        seed: of the order, >= 0.

    Raises:
        ValueError: if a number is out of its range.
    """
    return _first(name, balanced_order(images.label, seed), count)


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
    check_count("seed", seed, 0)
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


def _first(name: str, order: np.ndarray, count: int | None) -> np.ndarray:
    if count is not None and (not isinstance(count, int) or not 1 <= count <= len(order)):
        raise ValueError(f"Got {name} {count}, expected an integer from 1 to {len(order)}, or None for all.")
    return order[:count]
