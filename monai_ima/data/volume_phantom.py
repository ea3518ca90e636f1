"""SYNTHETIC volumes with labels in the likeness of three tasks of the Medical Segmentation Decathlon (MSD).

Lengths are fractions of half the volume's side: coordinates run from -1 to 1 along x (right), y (front) and z (up).
Nothing here was measured on a patient.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from monai_ima.utils.checks import MAX_SEED, check_count

from .phantom import MIN_SIZE, write_once

__all__ = ["TASKS", "VolumeTask", "volume_phantom", "volume_task", "write_volume_phantom"]


@dataclass(frozen=True)
class VolumeTask:
    """What a task's scans look like.

    Attributes:
        size: voxels along x, y and z.
        varied: most voxels that a scan's side is longer or shorter than ``size``.
        spacing: of the voxels, in mm.
        modality: name of each channel.
        labels: name of each class, the background first.
    """

    size: tuple[int, int, int]
    varied: int
    spacing: tuple[float, float, float]
    modality: tuple[str, ...]
    labels: tuple[str, ...]


TASKS = {
    "hippocampus": VolumeTask((36, 50, 36), 3, (1, 1, 1), ("MRI",), ("background", "Anterior", "Posterior")),
    "heart": VolumeTask((96, 96, 48), 0, (1.25, 1.25, 1.37), ("MRI",), ("background", "left atrium")),
    "prostate": VolumeTask((96, 96, 16), 0, (0.625, 0.625, 3.6), ("T2", "ADC"), ("background", "PZ", "TZ")),
}
"""The tasks; spacing, modality and labels are those of the real data."""


def volume_task(task: str) -> VolumeTask:
    """The task of that name.

    Raises:
        ValueError: when there is none.
    """
    if task not in TASKS:
        raise ValueError(f"Got task {task}, expected {', '.join(TASKS)}.")
    return TASKS[task]


def volume_phantom(
    task: str, rng: np.random.Generator, size: int | Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one synthetic scan and its label.

    - hippocampus: a bent body, head (1) and tail (2), a little brighter than most of the tissue around, which holds
      parts just as bright.
    - heart: the left atrium (1), a body with four veins, as bright as the other chambers and vessels.
    - prostate: the peripheral zone (1) around the transition zone (2), in a T2-like and an ADC-like channel; fat and
      bladder are bright as well.

    Place, pose, shape, contrast, coil sensitivity, noise and the unit of intensity differ between scans.

    Args:
        task: "hippocampus", "heart" or "prostate".
        rng: source of everything random.
        size: voxels along each axis, one number or three, >= 16; None for the task's own.

    Returns:
        image, float32 ``[x, y, z]``, for prostate ``[x, y, z, 2]``; label, uint8 ``[x, y, z]``.

    Raises:
        ValueError: if the task is another one or a side < 16.
    """
    shape = _size(task, size)
    draw = {"hippocampus": _hippocampus, "heart": _heart, "prostate": _prostate}[task]
    channels, label = draw(shape, rng)
    field = np.exp(0.15 * _texture(rng, shape, 0.4))
    scanned = [_as_scanned(channel * field, rng) for channel in channels]
    return (scanned[0] if len(scanned) == 1 else np.stack(scanned, axis=-1)), label


def _size(task: str, size: int | Sequence[int] | None) -> tuple[int, int, int]:
    own = volume_task(task).size
    if size is None:
        return own
    sides = (size,) * 3 if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(sides) != 3 or not all(isinstance(side, int) and side >= MIN_SIZE for side in sides):
        raise ValueError(f"Got size {size}, expected one integer or three, at least {MIN_SIZE}.")
    return sides[0], sides[1], sides[2]


def _coordinates(shape: tuple[int, ...], rng: np.random.Generator, tilt: float, shift: float) -> np.ndarray:
    """Where each voxel lies in a body that is tilted by some degrees and shifted: ``[3, x, y, z]``."""
    axes = [(2 * np.arange(n) + 1) / n - 1 for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    turn = Rotation.from_euler("xyz", rng.normal(scale=tilt, size=3), degrees=True).as_matrix()
    return np.tensordot(turn, grid - rng.normal(scale=shift, size=(3, 1, 1, 1)), axes=1)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1; ``width`` is its correlation length."""
    noise = gaussian_filter(rng.normal(size=shape), [width * n / 2 for n in shape])
    return (noise - noise.mean()) / noise.std()


def _ellipsoid(at: np.ndarray, centre: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """Squared distance from the centre, 1 on the surface."""
    offset = (at - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    return (offset**2).sum(axis=0)


def _tube(at: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Squared distance from a line between two points, 1 on the surface."""
    axis, offset = end - start, at - start[:, None, None, None]
    along = np.clip(np.tensordot(axis, offset, axes=1) / (axis @ axis), 0, 1)
    return ((offset - axis[:, None, None, None] * along) ** 2).sum(axis=0) / radius**2


def _as_scanned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Partial volume, Rician noise and the scan's own unit of intensity."""
    image = gaussian_filter(image, 0.6)
    real, imaginary = rng.normal(scale=rng.uniform(0.04, 0.1), size=(2, *image.shape))
    return (10 ** rng.uniform(2, 4) * np.hypot(image + real, imaginary)).astype(np.float32)


def _hippocampus(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    at = _coordinates(shape, rng, tilt=6, shift=0.07)
    tissue, rough = _texture(rng, shape, 0.2), 0.15 * _texture(rng, shape, 0.15)
    bright = rng.uniform(1.35, 1.5)
    image = 0.95 + 0.12 * tissue
    for _ in range(rng.integers(3, 7)):
        direction = rng.normal(size=3)
        centre = rng.uniform(0.75, 1.05) * direction / np.linalg.norm(direction)
        image = np.where(_ellipsoid(at, centre, rng.uniform(0.15, 0.35, 3)) + rough < 1, bright, image)
    length, bend, rise = rng.uniform(0.6, 0.75), rng.uniform(0.15, 0.35), rng.uniform(-0.25, 0.25)
    x, along, z = at[0], at[1] / length, at[2]
    thick = np.sqrt(np.clip(1 - along**4, 1e-6, 1)) * (1 + 0.25 * along)
    width, height = rng.uniform(0.27, 0.34), rng.uniform(0.24, 0.31)
    from_axis = ((x - bend * (along**2 - 0.4)) / width) ** 2 + ((z - rise * along) / height) ** 2
    body = (from_axis + rough * thick**2 < thick**2) & (np.abs(along) < 1)
    head = along + 0.15 * x > rng.uniform(0.05, 0.15)
    image = np.where(body, bright * np.where(head, 1.0, 0.92), image)
    return [image], np.where(body, np.where(head, 1, 2), 0).astype(np.uint8)


def _heart(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    at = _coordinates(shape, rng, tilt=6, shift=0.05)
    rough = 0.12 * _texture(rng, shape, 0.12)
    blood, muscle = rng.uniform(1.1, 1.3), rng.uniform(0.5, 0.65)
    chest = _ellipsoid(at, (0, 0, 0), (0.95, 0.8, 1.6)) + rough < 1
    image = np.where(chest, 0.6 + 0.12 * _texture(rng, shape, 0.1), 0.02)
    for side in (-1, 1):
        image = np.where(_ellipsoid(at, (0.6 * side, 0, 0), (0.25, 0.6, 1.2)) + rough < 1, 0.1, image)
    image = np.where(_ellipsoid(at, (-0.05, 0.2, 0), (0.55, 0.55, 0.9)) + rough < 1, muscle, image)
    for centre, radii in (
        ((0.28, 0.15, -0.1), (0.17, 0.22, 0.4)),  # right atrium
        ((0.1, 0.48, -0.2), (0.24, 0.18, 0.45)),  # right ventricle
        ((-0.32, 0.32, -0.3), (0.19, 0.26, 0.4)),  # left ventricle
        ((0.0, 0.25, 0.75), (0.13, 0.13, 0.6)),  # ascending aorta
        ((-0.15, -0.5, 0.0), (0.1, 0.1, 2.0)),  # descending aorta
    ):
        chamber = _ellipsoid(at, centre, rng.uniform(0.85, 1.1) * np.array(radii)) + rough < 1
        image = np.where(chamber, blood * rng.uniform(0.9, 1.1), image)
    middle, half = rng.normal((-0.03, -0.12, 0.05), 0.02), rng.uniform((0.24, 0.17, 0.35), (0.3, 0.22, 0.48))
    distance = _ellipsoid(at, middle, half) + rough
    wall = _ellipsoid(at, middle, half + 0.06) + rough < 1
    for side in (-1, 1):
        for up in (-0.5, 0.5):
            start = middle + half * (0.6 * side, -0.3, up)
            end = start + rng.uniform((0.25, -0.2, -0.1), (0.35, -0.08, 0.2)) * (side, 1, 1)
            distance = np.minimum(distance, _tube(at, start, end, rng.uniform(0.06, 0.085)))
    atrium = distance < 1
    image = np.where(atrium, blood, np.where(wall, muscle, image))
    return [image], atrium.astype(np.uint8)


def _prostate(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    at = _coordinates(shape, rng, tilt=4, shift=0.06)
    tissue, rough = _texture(rng, shape, 0.25), 0.1 * _texture(rng, shape, 0.2)
    size = rng.uniform(0.85, 1.15)
    gland = _ellipsoid(at, (0, 0, 0), size * np.array((0.34, 0.28, 0.65))) + rough < 1
    inner = size * rng.uniform(0.9, 1.05) * np.array((0.23, 0.19, 0.46))
    transition = gland & (_ellipsoid(at, (0, 0.06, 0.05), inner) + rough < 1)
    fat = tissue + 2.5 * (np.hypot(at[0], at[1]) - 0.7) > 0
    bladder = _ellipsoid(at, (0, 0.15, 1.2), (0.45, 0.4, 0.6)) + rough < 1
    rectum = _ellipsoid(at, (0, -0.52, 0), (0.2, 0.17, 3)) + rough < 1
    gas = _ellipsoid(at, (0, -0.52, 0), (0.14, 0.11, 3)) + rough < 1
    nodules = _texture(rng, shape, 0.06)
    zones = [fat, rectum, gas, bladder, gland, transition]
    channels = []
    for muscle, values, contrast in (
        (0.4, (1.0, 0.5, 0.05, 1.5, rng.uniform(0.95, 1.15), rng.uniform(0.65, 0.8)), 0.13),  # T2
        (0.6, (0.2, 0.6, 0.05, 1.6, rng.uniform(0.95, 1.15), rng.uniform(0.75, 0.85)), 0.08),  # ADC
    ):
        image = muscle + 0.1 * tissue
        for zone, value in zip(zones, values, strict=True):
            image = np.where(zone, value, image)
        channels.append(np.clip(image + contrast * np.where(gland, nodules, 0.5 * rough), 0, None))
    return channels, np.where(transition, 2, gland).astype(np.uint8)


def write_volume_phantom(
    folder: str | os.PathLike, task: str, scans: int = 12, size: int | Sequence[int] | None = None, seed: int = 0
) -> Path:
    """Write a SYNTHETIC data set in MSD layout: dataset.json, imagesTr and labelsTr.

    ``phantom.json`` holds the settings and appears when everything is written. A complete folder with the same settings
    is left as it is; one whose writing was interrupted is written again, with the same settings only.

    Args:
        folder: the folder.
        task: "hippocampus", "heart" or "prostate".
        scans: number of scans, >= 1.
        size: voxels along each axis, one number or three, >= 16; None for the task's own. Sides of a hippocampus scan
            are up to 3 voxels longer or shorter, but no shorter than 16.
        seed: >= 0; every scan depends on the seed, the task and its own place only.

    Returns:
        ``folder``.

    Raises:
        ValueError: if the task is another one, or a number is below its least value.
        FileExistsError: when the folder holds anything else, or scans of a finished phantom are gone.
    """
    shape = _size(task, size)
    scans = check_count("scans", scans, 1)
    seed = check_count("seed", seed, 0, MAX_SEED)
    varied, spacing = TASKS[task].varied, np.array(TASKS[task].spacing)

    def write(root: Path) -> None:
        names = [f"{task}_{scan:03d}.nii.gz" for scan in range(scans)]
        for scan, name in enumerate(tqdm(names, desc=f"synthetic {task}", leave=False)):
            rng = np.random.default_rng([seed, list(TASKS).index(task), scan])
            sides = shape + rng.integers(-varied, varied + 1, size=3)
            image, label = volume_phantom(task, rng, [max(MIN_SIZE, int(n)) for n in sides])
            affine = np.diag((*spacing, 1.0))
            affine[:3, 3] = -spacing * (np.array(label.shape) - 1) / 2
            nib.save(nib.Nifti1Image(image, affine), root / "imagesTr" / name)
            nib.save(nib.Nifti1Image(label, affine), root / "labelsTr" / name)
        (root / "dataset.json").write_text(json.dumps(_dataset(task, names), indent=2))

    settings = {"data": f"synthetic {task} phantom", "task": task, "scans": scans, "size": list(shape), "seed": seed}
    return write_once(folder, settings, dict.fromkeys(("imagesTr/*.nii.gz", "labelsTr/*.nii.gz"), scans), write)


def _dataset(task: str, names: Sequence[str]) -> dict[str, Any]:
    """What ``dataset.json`` holds."""
    modality, labels = TASKS[task].modality, TASKS[task].labels
    return {
        "name": task,
        "description": f"SYNTHETIC {task} phantom, not measured on patients",
        "tensorImageSize": "3D" if len(modality) == 1 else "4D",
        "modality": {str(channel): name for channel, name in enumerate(modality)},
        "labels": {str(value): name for value, name in enumerate(labels)},
        "numTraining": len(names),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
