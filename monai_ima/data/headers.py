"""What the header of an image file says of its grid, whatever its format; its pixels are not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from .folders import DamagedImageError
from .pictures import ON_ITS_SIDE, ScrambledPictureError, noted_orientation

__all__ = ["IMAGE_SUFFIXES", "Header", "image_suffix", "read_header"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Header:
    """The grid of an image.

    Attributes:
        shape: number of voxels along each of the two or three axes in space; of pictures ``(width, height)``
            as they are read, turned by their orientation.
        channels: values a voxel.
        affine: float ``[4, 4]``, from voxel indices to mm in RAS; None for pictures, which have no position.
        mode: Pillow's name of a picture's type of pixels, such as ``"L"``; None for other files.
        orientation: of EXIF, 1 to 8, that a picture is turned by when it is read; 1 is upright.

    Example:
        >>> Header((64, 64, 32), 1, np.eye(4), None).shape
        (64, 64, 32)
    """

    shape: tuple[int, ...]
    channels: int
    affine: np.ndarray | None
    mode: str | None
    orientation: int = 1


def read_header(file: str | os.PathLike) -> Header:
    """The header of a NIfTI, NRRD or MetaImage file, or of a PNG, JPEG or TIFF picture.

    Args:
        file: its suffix says which.

    Raises:
        DamagedImageError: if the file cannot be read.
        ValueError: if the suffix is another, a TIFF file holds several pages or is one that Pillow scrambles, or the
            package that MONAI reads the format with is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
        ...     Image.new("RGB", (4, 2)).save(file)
        ...     file.flush()
        ...     read_header(file.name)
        Header(shape=(4, 2), channels=3, affine=None, mode='RGB', orientation=1)
    """
    suffix = image_suffix(Path(file))
    if suffix is None:
        raise ValueError(f"File {file} is no image, expected a name ending in {', '.join(IMAGE_SUFFIXES)}.")
    try:
        return _READERS[suffix](str(file))
    except (_Refused, ScrambledPictureError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DamagedImageError(f"File {file} cannot be read ({reason}), expected a whole {suffix} file.") from error


def image_suffix(path: Path) -> str | None:
    """The suffix of an image file in small letters, ``.nii.gz`` as a whole; None where it is no image.

    Example:
        >>> image_suffix(Path("scan.1.NII.GZ"))
        '.nii.gz'
    """
    return next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), None)


class _Refused(ValueError):
    """The file may be whole, but is not read."""


def _nifti(file: str) -> Header:
    image: Any = nib.load(file)
    shape = tuple(map(int, image.shape))
    return Header(shape[:3], int(np.prod(shape[3:])), np.asarray(image.affine, np.float64), None)


def _picture(file: str) -> Header:
    with Image.open(file) as image:
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise _Refused(f"Picture {file} holds {pages} pages, expected one.")
        orientation = noted_orientation(image)
        turned_already = image.format == "TIFF"
        size = image.size[::-1] if orientation in ON_ITS_SIDE and not turned_already else image.size
        return Header(size, len(image.getbands()), None, image.mode, orientation)


def _nrrd(file: str) -> Header:
    if find_spec("nrrd") is None:
        return _itk(file, "pynrrd")
    import nrrd

    header = nrrd.read_header(file)
    spatial = [axis for axis, kind in enumerate(_kinds(header)) if kind in ("domain", "space")]
    directions = np.asarray(header.get("space directions", np.diag(header.get("spacings", np.ones(len(spatial))))))
    directions = directions[np.isfinite(directions).all(axis=1)]
    sizes = [int(size) for size in header["sizes"]]
    shape = tuple(sizes[axis] for axis in spatial)
    origin = np.asarray(header.get("space origin", np.zeros(len(shape))))
    lps = str(header.get("space", "left-posterior-superior")).lower().startswith("left-posterior")
    return Header(shape, int(np.prod(sizes) // np.prod(shape)), _affine(directions.T, origin, lps), None)


def _kinds(header: Any) -> list[str]:
    """The kind of each axis; without any, all are in space but those that have no direction."""
    if "kinds" in header:
        return [str(kind) for kind in header["kinds"]]
    directions = np.asarray(header.get("space directions", np.zeros((header["dimension"], 1))))
    return ["domain" if np.isfinite(direction).all() else "list" for direction in directions]


def _itk(file: str, package: str = "itk") -> Header:
    if find_spec("itk") is None:
        raise _Refused(f"MONAI reads {file} with the package {package}, expected it to be installed.")
    import itk

    reader = itk.ImageIOFactory.CreateImageIO(file, itk.CommonEnums.IOFileMode_ReadMode)
    reader.SetFileName(file)
    reader.ReadImageInformation()
    axes = range(reader.GetNumberOfDimensions())
    shape = tuple(int(reader.GetDimensions(axis)) for axis in axes)
    columns = [np.asarray(reader.GetDirection(axis)) * reader.GetSpacing(axis) for axis in axes]
    origin = np.asarray([reader.GetOrigin(axis) for axis in axes])
    return Header(shape, int(reader.GetNumberOfComponents()), _affine(np.stack(columns, 1), origin, True), None)


def _affine(directions: np.ndarray, origin: np.ndarray, lps: bool) -> np.ndarray:
    """From voxel indices to mm in RAS; ``directions`` has a column an axis."""
    affine = np.eye(4)
    count = len(origin)
    affine[:count, : directions.shape[1]] = directions
    affine[:count, 3] = origin
    if lps:
        affine[:3] = LPS_TO_RAS @ affine[:3]
    return affine


_READERS: dict[str, Callable[[str], Header]] = {
    ".nii.gz": _nifti,
    ".nii": _nifti,
    ".nrrd": _nrrd,
    ".mha": _itk,
    ".mhd": _itk,
    ".png": _picture,
    ".jpg": _picture,
    ".jpeg": _picture,
    ".tif": _picture,
    ".tiff": _picture,
}

IMAGE_SUFFIXES = tuple(_READERS)
"""Endings of the files that MONAI reads, in small letters."""
