from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .labelled_images import CLASS_COUNT, LabelledImages
from .shapes_phantom import shapes_datalist
from .splits import Item, split_images

__all__ = ["image_datalist"]


def image_datalist(
    read: Callable[[Any], tuple[LabelledImages, LabelledImages]],
    shape: Sequence[int],
    dataset_dir: str | os.PathLike | None,
    phantom_per_class: Mapping[str, int] | int = 100,
    val_count: int = 5000,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
    phantom_seed: int = 0,
    *,
    classes: int = CLASS_COUNT,
) -> dict[str, list[Item]]:
    """The images of a folder, or SYNTHETIC ones when no folder is given.

    Args:
        read: reads training and test images from a folder.
        shape: of the images, ``(C, H, W)``.
        dataset_dir: the folder; None or "" means the phantom.
        phantom_per_class: see :func:`shapes_datalist`.
        val_count: see :func:`split_images`; the phantom has validation images of its own.
        subset: see :func:`split_images`.
        test_subset: see :func:`split_images`.
        seed: of split and subsets, see :func:`split_images`.
        phantom_seed: see :func:`shapes_datalist`.
        classes: of the phantom, see :func:`shapes_phantom`.

    Returns:
        for each of train, val and test a list of ``{"image": uint8 [C, H, W], "label": int, "sample_id": str}``.

    Raises:
        FileNotFoundError: when the folder or a file is missing.
        ValueError: when a file or a number is not as expected.
    """
    if dataset_dir in (None, ""):
        return shapes_datalist(phantom_per_class, shape[1], shape[0], phantom_seed, subset, test_subset, seed, classes)
    return split_images(*read(dataset_dir), val_count, subset, test_subset, seed)
