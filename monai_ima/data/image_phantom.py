"""SYNTHETIC small images: a shape on a darker, shaded ground with a stray stroke and noise.

Ten classes are ten shapes; a hundred are the ten shapes in each of ten hues. Lengths are fractions of half the image's
side, rows grow downwards. Nothing here was photographed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from monai_ima.utils.checks import MAX_SEED, check_count

from .folders import SPLITS, Datalist
from .labelled_images import LabelledImages, balanced_order, first_rows, image_items
from .phantom import MIN_SIZE, phantom_counts, write_once

__all__ = ["HUES", "SHAPES", "SHAPE_CLASSES", "shapes_datalist", "shapes_phantom", "write_shapes_phantom"]

SHAPES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda u, v, stroke: np.hypot(u, v) - 0.85,
    "ring": lambda u, v, stroke: abs(np.hypot(u, v) - 0.75) - stroke,
    "square": lambda u, v, stroke: _side(u, v) - 0.8,
    "frame": lambda u, v, stroke: abs(_side(u, v) - 0.75) - stroke,
    "triangle": lambda u, v, stroke: np.maximum(v, 0.866 * abs(u) - 0.5 * v) - 0.55,
    "plus": lambda u, v, stroke: np.maximum(np.minimum(abs(u), abs(v)) - stroke, _side(u, v) - 0.95),
    "cross": lambda u, v, stroke: SHAPES["plus"](*_rotated(u, v, np.pi / 4), stroke),
    "lying bars": lambda u, v, stroke: np.maximum(abs(abs(v) - 0.5) - 0.9 * stroke, abs(u) - 0.85),
    "standing bars": lambda u, v, stroke: SHAPES["lying bars"](v, u, stroke),
    "crescent": lambda u, v, stroke: np.maximum(np.hypot(u, v) - 0.9, 0.75 - np.hypot(u - 0.45, v)),
}
"""By name: the signed distance to a shape's edge, negative inside, where the shape is about 1 large."""

HUES = 10
"""Hues of the phantom of a hundred classes, red first, equally far apart on the colour circle."""

SHAPE_CLASSES = ("crescent", "disc", "square", "triangle")
"""The shapes that :func:`write_shapes_phantom` draws, sorted."""

logger = logging.getLogger(__name__)


def shapes_datalist(
    per_class: Mapping[str, int] | int,
    size: int,
    channels: int,
    phantom_seed: int = 0,
    subset: int | None = None,
    test_subset: int | None = None,
    seed: int = 0,
    classes: int = len(SHAPES),
) -> Datalist:
    """Training, validation and test images of the phantom, drawn in memory; the log says that they are SYNTHETIC.

    Args:
        per_class: images of each class in each split, ``{"train": n, "val": n, "test": n}``; one number n stands for n,
            n/5 and n/2 (at least one).
        size: see :func:`shapes_phantom`.
        channels: see :func:`shapes_phantom`.
        phantom_seed: of the images, >= 0.
        subset: number of training images, the classes taking turns; None for all.
        test_subset: the same for the test images.
        seed: of the subsets, >= 0.
        classes: see :func:`shapes_phantom`.

    Returns:
        for each split the items; sample ids are such as ``synthetic-train-00017``, so that margins of synthetic images
        are not taken for those of real ones.

    Raises:
        ValueError: if a number is out of its range.
    """
    counts = phantom_counts("per_class", per_class)
    phantom_seed = check_count("phantom_seed", phantom_seed, 0, MAX_SEED)
    _check_classes(classes)
    logger.warning("No dataset_dir was given: these are SYNTHETIC images (shapes, seed %d).", phantom_seed)
    limits = {"train": ("subset", subset), "val": ("", None), "test": ("test_subset", test_subset)}
    datalist = {}
    for k, split in enumerate(SPLITS):
        label = np.tile(np.arange(classes), counts[split])
        rng = np.random.default_rng([phantom_seed, k])
        images = LabelledImages(shapes_phantom(label, rng, size, channels, classes), label)
        rows = first_rows(*limits[split], balanced_order(label, seed))
        datalist[split] = image_items(images, f"synthetic-{split}", rows)
    return datalist


def write_shapes_phantom(
    folder: str | os.PathLike,
    per_class: Mapping[str, int] | int = 100,
    size: int = 224,
    channels: int = 1,
    seed: int = 0,
) -> Path:
    """Write SYNTHETIC pictures of four shapes in ImageNet's layout, ``{split}/{shape}/NNNNN.png``.

    A complete folder with the same settings is left as it is; one whose writing was interrupted is written again.

    Args:
        folder: where to write.
        per_class: pictures of each class in each split, ``{"train": n, "val": n, "test": n}``; one number n stands for
            n, n/5 and n/2 (at least one).
        size: side of the pictures in pixels, >= 16.
        channels: 1 for grey, 3 for colour.
        seed: >= 0.

    Returns:
        ``folder``.

    Raises:
        ValueError: if a number is out of its range.
        FileExistsError: if the folder holds anything else, or pictures of a finished phantom are gone.
    """
    counts = phantom_counts("per_class", per_class)
    seed, size = check_count("phantom_seed", seed, 0, MAX_SEED), check_count("size", size, MIN_SIZE)
    if channels not in (1, 3):
        raise ValueError(f"Got channels {channels!r}, expected 1 (grey) or 3 (colour).")

    def write(root: Path) -> None:
        for k, split in enumerate(SPLITS):
            for name in SHAPE_CLASSES:
                label = list(SHAPES).index(name)
                for number in range(counts[split]):
                    rng = np.random.default_rng([seed, k, label, number])
                    image = shapes_phantom(np.array([label]), rng, size, channels)[0].transpose(1, 2, 0)
                    picture = Image.fromarray(np.ascontiguousarray(image.squeeze()))
                    picture.save(root / split / name / f"{number:05d}.png")

    settings = {"data": "synthetic shapes", "per_class": counts, "size": size, "channels": channels, "seed": seed}
    patterns = {f"{split}/{name}/*.png": counts[split] for split in SPLITS for name in SHAPE_CLASSES}
    return write_once(folder, settings, patterns, write)


def shapes_phantom(
    label: np.ndarray, rng: np.random.Generator, size: int = 28, channels: int = 1, classes: int = len(SHAPES)
) -> np.ndarray:
    """Draw synthetic images.

    Place, size, turn, stroke width, sharpness, contrast and colour of the shapes vary, and so do brightness and shade
    of the ground, a stray stroke and the noise; all alike in every class. With a hundred classes the hue of shape and
    stroke is the class's, give or take a quarter of the distance to the next hue.

    Args:
        label: int ``[N]``, 0 <= label < classes: index into ``SHAPES`` + 10 * number of the hue.
        rng: source of everything random.
        size: side of the images in pixels, >= 16.
        channels: >= 1; 3 (red, green, blue) with a hundred classes.
        classes: 10, or 100.

    Returns:
        uint8 ``[N, channels, size, size]``.

    Raises:
        ValueError: if an argument is out of its range.
    """
    label = np.asarray(label)
    coloured = _check_classes(classes)
    if label.ndim != 1 or not np.isin(label, np.arange(classes)).all():
        raise ValueError(f"Got labels {label}, expected integers from 0 to {classes - 1}.")
    size, channels = check_count("size", size, MIN_SIZE), check_count("channels", channels, 1)
    if coloured and channels != 3:
        raise ValueError(f"Got channels {channels}, expected 3 for {classes} classes, which differ in hue.")

    def draw(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (len(label), *(shape or (1, 1)))).astype(np.float32)

    axis = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    scale, stroke = draw(0.42, 0.68), draw(0.13, 0.26)
    u, v = _rotated((x - draw(-0.25, 0.25)) / scale, (y - draw(-0.25, 0.25)) / scale, draw(-0.3, 0.3))
    distance = np.empty_like(u)
    for k, signed_distance in enumerate(SHAPES.values()):
        own = label % len(SHAPES) == k
        distance[own] = signed_distance(u[own], v[own], stroke[own])
    shape = _inside(distance * scale, draw(0.8, 2.0) * 2 / size)
    across, along = _rotated(x - draw(-0.8, 0.8), y - draw(-0.8, 0.8), draw(0, np.pi))
    stray = _inside(np.maximum(abs(across) - draw(0.02, 0.07), abs(along) - draw(0.3, 1.0)), 2 / size)
    grey = draw(0.25, 0.6) * shape + draw(-0.3, 0.3) * stray + draw(-0.12, 0.12) * x + draw(-0.12, 0.12) * y
    ground = draw(0.05, 0.4)[:, None] + draw(-0.05, 0.05, channels, 1, 1)
    if coloured:
        tint = _tint((label // len(SHAPES))[:, None, None, None] + draw(-0.25, 0.25, 1, 1, 1))
    else:
        tint = draw(0.6, 1, channels, 1, 1)
    image = ground + tint * grey[:, None]
    noise = rng.standard_normal(image.shape, dtype=np.float32) * draw(0.02, 0.1, 1, 1, 1)
    return (255 * np.clip(image + noise, 0, 1) + 0.5).astype(np.uint8)


def _check_classes(classes: int) -> bool:
    """Whether the number of classes is that of shapes times hues, not of shapes alone."""
    if classes not in (len(SHAPES), len(SHAPES) * HUES):
        raise ValueError(f"Got classes {classes!r}, expected {len(SHAPES)} or {len(SHAPES) * HUES}.")
    return classes == len(SHAPES) * HUES


def _tint(hue: np.ndarray) -> np.ndarray:
    """Shares of red, green and blue ``[N, 3, 1, 1]``, their mean 0.8 for each of the :data:`HUES`."""
    primary = np.arange(3, dtype=np.float32)[:, None, None] / 3
    return 0.8 + 0.35 * np.cos(2 * np.pi * (hue / HUES - primary))


def _side(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v))


def _rotated(x: np.ndarray, y: np.ndarray, angle: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _inside(distance: np.ndarray, blur: np.ndarray | float) -> np.ndarray:
    """1 inside, 0 outside, with an edge as wide as ``blur``."""
    return np.clip(0.5 - distance / blur, 0, 1)
