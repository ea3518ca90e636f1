"""The voxels of volume files, several files beside each other."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from monai.transforms import LoadImage
from tqdm import tqdm

from .folders import DamagedImageError, Item

__all__ = ["NIFTI_SUFFIXES", "channel_files", "in_threads", "read_channels", "read_voxels"]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MONAI_SUFFIXES = (".nrrd", ".mha", ".mhd")

WORKERS = 4
"""Threads that read files at the same time."""

CHUNK = 1 << 20

Result = TypeVar("Result")


def in_threads(read: Callable[[Any], Result], items: Sequence[Any]) -> Iterator[Result]:
    """What a function gives for each item, in their order, with a progress bar; the first error ends it."""
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from tqdm(pool.map(read, items), total=len(items), desc="checking volumes", leave=False)


def channel_files(item: Item) -> list[str]:
    """The files of a scan's image: one, or one a channel."""
    image = item["image"]
    return [os.fspath(image)] if isinstance(image, str | os.PathLike) else list(map(os.fspath, image))


def read_channels(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of a scan's image, ``[x, y, z]`` or ``[x, y, z, channels]``, and the affine of its first file."""
    files = channel_files(item)
    if len(files) == 1:
        return read_voxels(files[0])
    volumes, affines = zip(*map(read_voxels, files), strict=True)
    return np.stack(volumes, axis=-1), affines[0]


def read_voxels(file: str) -> tuple[np.ndarray, np.ndarray]:
    """The voxels, with the header's scaling, and the affine ``[4, 4]``; NRRD and MetaImage files are read by MONAI.

    Raises:
        DamagedImageError: when the file cannot be read; a compressed NIfTI file's checksum is looked at, too.
        ValueError: when it holds no voxels or no real numbers.
    """
    by_monai = file.lower().endswith(MONAI_SUFFIXES)
    try:
        voxels, affine = _read_as_monai(file) if by_monai else _read_nifti(file)
    except Exception as error:
        reason = " ".join(str(error).split())
        kind = "image" if by_monai else "NIfTI"
        raise DamagedImageError(f"File {file} cannot be read ({reason}), expected a whole {kind} file.") from error
    if voxels.dtype.kind not in "iuf" or not voxels.size:
        raise ValueError(f"File {file} holds {voxels.size} voxels of type {voxels.dtype}, expected real numbers.")
    return voxels, affine


def _read_nifti(file: str) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(file)
    if not isinstance(image, nib.Nifti1Image):
        raise ValueError(f"it is a {type(image).__name__}")
    voxels = np.asanyarray(image.dataobj)
    if file.lower().endswith(".gz"):
        with gzip.open(file) as stream:
            while stream.read(CHUNK):  # the checksum is compared at the end
                pass
    return voxels, np.asarray(image.affine)


def _read_as_monai(file: str) -> tuple[np.ndarray, np.ndarray]:
    image: Any = LoadImage(image_only=True, ensure_channel_first=True)(file)
    voxels = image.numpy()
    return (voxels[0] if len(voxels) == 1 else np.moveaxis(voxels, 0, -1)), image.affine.numpy()
