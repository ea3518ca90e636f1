"""A SYNTHETIC optical coherence tomography phantom: retinal B-scans of four classes, drawn from a seed.

Lengths are fractions of the image's side; rows are depth, growing downwards. Nothing here was measured on a patient.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from tqdm import tqdm

from monai_ima.utils.checks import MAX_SEED, check_count

from .folders import SPLITS
from .oct_kermany import CLASSES
from .phantom import MIN_SIZE, phantom_counts, write_once

__all__ = ["PhantomRetina", "oct_phantom", "write_oct_phantom"]

RENDER_SIZE = 224
"""Scans are drawn at least this large and scaled down, so that every size shows the same speckle and signs."""

LAYERS = (
    (0.12, 0.78),  # nerve fibre layer
    (0.34, 0.50),  # ganglion cells, inner plexiform layer
    (0.44, 0.30),  # inner nuclear layer
    (0.52, 0.48),  # outer plexiform layer
    (0.80, 0.20),  # outer nuclear layer
    (0.88, 0.66),  # ellipsoid zone
    (1.01, 0.40),  # outer segments
)
"""Lower end, as a fraction of the neural retina's thickness, and reflectivity of its layers from the top."""

RPE_THICKNESS, RPE_REFLECTIVITY = 0.022, 0.92
VITREOUS, CHOROID, FLUID, MEMBRANE, DRUSE = 0.05, 0.52, 0.07, 0.72, 0.56


@dataclass(frozen=True)
class PhantomRetina:
    """The shape of one patient's retina.

    Attributes:
        depth: of the retina's lower end in the middle.
        thickness: of the neural retina away from the fovea.
        tilt: slope of the retina.
        bow: curvature of the retina.
        fovea: column of the foveal pit.
        pit_depth: as a fraction of ``thickness``; 0 where the scan misses the fovea.
        pit_width: of the pit.
    """

    depth: float
    thickness: float
    tilt: float
    bow: float
    fovea: float
    pit_depth: float
    pit_width: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> PhantomRetina:
        """A retina drawn from ``rng``."""
        return cls(
            depth=rng.uniform(0.58, 0.72),
            thickness=rng.uniform(0.24, 0.31),
            tilt=rng.uniform(-0.12, 0.12),
            bow=rng.uniform(-0.1, 0.25),
            fovea=rng.uniform(0.3, 0.7),
            pit_depth=rng.uniform(0.25, 0.5) * (rng.random() < 0.75),
            pit_width=rng.uniform(0.09, 0.15),
        )


def oct_phantom(
    label: int, rng: np.random.Generator, size: int = 224, retina: PhantomRetina | None = None
) -> np.ndarray:
    """Draw one synthetic B-scan.

    - CNV: an irregular bright membrane lifts the pigment epithelium, with dark fluid above it.
    - DME: the retina is thickened and holds dark oval cysts.
    - DRUSEN: bumps of the pigment epithelium with moderately bright material below.
    - NORMAL: none of these.

    Size and contrast of the signs vary, down to faint ones; brightness, contrast, speckle and vessel shadows vary
    alike in all classes.

    Args:
        label: index into ``CLASSES``.
        rng: source of everything random.
        size: side of the image in pixels, >= 16.
        retina: the patient's retina; None draws one.

    Returns:
        uint8 ``[size, size]``.

    Raises:
        ValueError: if label is no index into ``CLASSES`` or size < 16.
    """
    if label not in range(len(CLASSES)):
        raise ValueError(f"Got label {label}, expected an index into {CLASSES}.")
    size = check_count("size", size, MIN_SIZE)
    retina = PhantomRetina.draw(rng) if retina is None else retina
    side = max(size, RENDER_SIZE)
    x = (np.arange(side) + 0.5) / side
    surfaces = _surfaces(label, rng, x, retina)
    image = _reflectivity(surfaces, rng, side)
    if CLASSES[label] == "DME":
        image = _with_cysts(image, surfaces, rng, side)
    image = _as_scanned(image, surfaces, rng, side)
    picture = Image.fromarray(image)
    return np.asarray(picture if side == size else picture.resize((size, size), Image.Resampling.BOX))


@dataclass(frozen=True)
class Surfaces:
    """Depths by column: inner limiting membrane, outer end of the neural retina, pigment epithelium, Bruch's membrane.

    Fluid lies between ``outer`` and ``epithelium``; ``material`` (of a druse or membrane) between ``epithelium`` and
    ``bruch``.
    """

    inner: np.ndarray
    outer: np.ndarray
    epithelium: np.ndarray
    bruch: np.ndarray
    material: float


def _surfaces(label: int, rng: np.random.Generator, x: np.ndarray, retina: PhantomRetina) -> Surfaces:
    wave = gaussian_filter1d(rng.normal(size=x.size), x.size / 14, mode="reflect")
    base = retina.depth + retina.tilt * (x - 0.5) + retina.bow * (x - 0.5) ** 2 + 0.006 * wave / (wave.std() + 1e-9)
    pit = retina.pit_depth * np.exp(-(((x - retina.fovea) / retina.pit_width) ** 2))
    thickness = retina.thickness * (1 - pit)
    lift, fluid, material = np.zeros_like(x), np.zeros_like(x), DRUSE
    name = CLASSES[label]
    if name == "DRUSEN":
        for _ in range(rng.integers(3, 8)):
            druse = rng.uniform(0.018, 0.05) * _bump(x, rng.uniform(0.1, 0.9), rng.uniform(0.018, 0.05))
            lift = np.maximum(lift, druse)
        material = DRUSE * rng.uniform(0.8, 1.1)
    elif name == "CNV":
        centre, width = rng.uniform(0.25, 0.75), rng.uniform(0.08, 0.16)
        ripple = gaussian_filter1d(rng.normal(size=x.size), x.size / 60, mode="reflect")
        ragged = 1 + 0.35 * ripple * np.sqrt(x.size / 17)
        lift = rng.uniform(0.035, 0.09) * _bump(x, centre, width) * np.clip(ragged, 0.3, 1.7)
        fluid = rng.uniform(0.015, 0.06) * _bump(x, centre + rng.uniform(-0.1, 0.1), width * rng.uniform(0.9, 1.5))
        material = MEMBRANE * rng.uniform(0.8, 1.1)
    elif name == "DME":
        thickness = thickness * (1 + rng.uniform(0.1, 0.5) * _bump(x, rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.3)))
    else:
        lift = 0.005 * _bump(x, rng.uniform(0, 1), rng.uniform(0.02, 0.06)) * rng.random()
    epithelium = base - lift
    outer = epithelium - fluid
    lifted = gaussian_filter1d(base - outer, 0.05 * x.size, mode="nearest")
    inner = np.minimum(base - thickness - 0.6 * lifted, outer - 0.35 * thickness)
    return Surfaces(inner, outer, epithelium, base, material)


def _bump(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-(((x - centre) / width) ** 2))


def _reflectivity(surfaces: Surfaces, rng: np.random.Generator, side: int) -> np.ndarray:
    y = ((np.arange(side) + 0.5) / side)[:, None]
    fraction = (y - surfaces.inner) / (surfaces.outer - surfaces.inner)
    image = np.full((side, side), VITREOUS)
    for (end, value), start in zip(reversed(LAYERS), (*[e for e, _ in reversed(LAYERS)][1:], 0.0), strict=True):
        image = np.where((fraction >= start) & (fraction < end), value * rng.uniform(0.9, 1.1), image)
    image = np.where((y >= surfaces.outer) & (y < surfaces.epithelium), FLUID, image)
    image = np.where((y >= surfaces.epithelium) & (y < surfaces.bruch), surfaces.material, image)
    below = surfaces.bruch + RPE_THICKNESS
    vessels = gaussian_filter(rng.normal(size=(side, side)), side / 45)
    choroid = CHOROID * np.exp(-(y - below) / rng.uniform(0.12, 0.3)) * (1 + 0.35 * vessels / vessels.std())
    image = np.where(y >= surfaces.bruch, np.clip(choroid, 0.04, 1), image)
    band = (y >= surfaces.epithelium) & (y < surfaces.epithelium + RPE_THICKNESS)
    return np.where(band, RPE_REFLECTIVITY, image)


def _with_cysts(image: np.ndarray, surfaces: Surfaces, rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    centre = rng.uniform(0.3, 0.7)
    for _ in range(rng.integers(3, 8)):
        column = float(np.clip(centre + rng.normal(scale=0.1), 0.06, 0.94))
        k = int(column * side)
        thickness = surfaces.outer[k] - surfaces.inner[k]
        depth = surfaces.inner[k] + thickness * rng.uniform(0.38, 0.72)
        height = thickness * rng.uniform(0.09, 0.2)
        width = height * rng.uniform(0.8, 1.8)
        inside = ((x - column) / width) ** 2 + ((y - depth) / height) ** 2 < 1
        image = np.where(inside, FLUID + (image - FLUID) * rng.uniform(0, 0.35), image)
    return image


def _as_scanned(image: np.ndarray, surfaces: Surfaces, rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = (np.arange(side)[:, None] + 0.5) / side, (np.arange(side) + 0.5) / side
    for _ in range(rng.integers(1, 5)):
        shadow = rng.uniform(0.2, 0.55) * _bump(x, rng.uniform(0, 1), rng.uniform(0.006, 0.016))
        image = image * np.where(y > surfaces.inner + 0.02, 1 - shadow, 1)
    image = gaussian_filter(image, side / 320)
    speckle = gaussian_filter(rng.gamma(2.0, 0.5, size=(side, side)), side / 400)
    speckle = 1 + (speckle - 1) * rng.uniform(0.6, 1.0)
    image = image * speckle + rng.normal(scale=0.015, size=(side, side))
    image = rng.uniform(0.0, 0.06) + rng.uniform(0.65, 1.05) * np.clip(image, 0, None) ** rng.uniform(0.8, 1.25)
    return (255 * np.clip(image, 0, 1)).astype(np.uint8)


def write_oct_phantom(
    out_dir: str | os.PathLike, per_class: Mapping[str, int] | int = 100, size: int = 224, seed: int = 0
) -> Path:
    """Write a SYNTHETIC data set in Kermany's layout: 1 to 3 scans a patient, no patient in two splits.

    ``phantom.json`` holds the settings and appears when everything is written. A complete folder with the same settings
    is left as it is; one whose writing was interrupted is written again, with the same settings only.

    Args:
        out_dir: the folder.
        per_class: scans of each class in each split, ``{"train": n, "val": n, "test": n}``; one number n stands for n,
            n/5 and n/2 (at least one).
        size: side of the images in pixels, >= 16.
        seed: >= 0; every scan depends on the seed and its own place only.

    Returns:
        ``out_dir``.

    Raises:
        ValueError: if a number is below its least value, or a split is missing.
        FileExistsError: when the folder holds anything else, or scans of a finished phantom are gone.
    """
    counts = phantom_counts("per_class", per_class)
    seed = check_count("seed", seed, 0, MAX_SEED)
    size = check_count("size", size, MIN_SIZE)

    def write(root: Path) -> None:
        for split_index, split in enumerate(SPLITS):
            for label, name in enumerate(CLASSES):
                scans = tqdm(range(counts[split]), desc=f"synthetic {split}/{name}", leave=False)
                _write_class(root / split / name, scans, (seed, split_index, label), size)

    settings = {"data": "synthetic OCT phantom", "per_class": counts, "size": size, "seed": seed}
    patterns = {f"{split}/{name}/*.jpeg": counts[split] for split in SPLITS for name in CLASSES}
    return write_once(out_dir, settings, patterns, write)


def _write_class(folder: Path, scans: tqdm, key: tuple[int, int, int], size: int) -> None:
    seed, split_index, label = key
    patient, left, retina = -1, 0, None
    for scan in scans:
        if left == 0:
            patient += 1
            rng = np.random.default_rng([seed, split_index, label, patient])
            left, number, retina = int(rng.integers(1, 4)), 0, PhantomRetina.draw(rng)
        left, number = left - 1, number + 1
        image = oct_phantom(label, np.random.default_rng([seed, split_index, label, scan, 1]), size, retina)
        identity = 1_000_000 * (1 + split_index) + 100_000 * label + patient
        Image.fromarray(image).save(folder / f"{CLASSES[label]}-{identity}-{number}.jpeg", quality=95)
