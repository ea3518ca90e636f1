"""Small labelled images in memory, and the checks that every reader of them makes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["CLASS_COUNT", "LabelledImages", "labelled_images", "require_files"]

CLASS_COUNT = 10
"""Classes of a data set, unless its reader says otherwise."""


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
    class_count: int = CLASS_COUNT,
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
    wrong = (label < first_label) | (label >= first_label + class_count)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{label_source} holds the label {label[row]} at image {row}, expected {first_label} to "
            f"{first_label + class_count - 1}."
        )
    return LabelledImages(image, label.astype(np.int64))


def require_files(root: Path, names: Sequence[str]) -> None:
    """Make sure that files are there.

    Raises:
        FileNotFoundError: when some are not; the sentence names all of them.
    """
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise FileNotFoundError(f"Folder {root} has no {', '.join(missing)}, expected {', '.join(names)}.")
