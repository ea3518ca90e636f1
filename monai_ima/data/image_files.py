"""Images of the user's own: pictures (PNG, JPEG, TIFF) and 2-D NIfTI files, in grey or colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple
from PIL import Image

from monai_ima.utils.checks import check_bounds

from .pictures import EIGHT_BITS, turned, upright

__all__ = ["IMAGE_SUFFIXES", "ImageFileReader"]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".tiff", ".tif", ".nii.gz", ".nii")

MODES = {1: "L", 3: "RGB"}
"""Pillow's modes, by number of channels."""

GREY_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes of more than 8 bits a pixel."""


class ImageFileReader(ImageReader):
    """Reads pictures and 2-D NIfTI files as float32 ``[height, width, channels]``, scaled to 0..1.

    Pictures are turned as their camera notes (EXIF). Those of 8 bits a channel have the intensities 0..255. How
    bright a picture of more bits or a NIfTI file can be is not written in it: ``intensity_range`` must say so. Rows
    of a NIfTI file's image are its second axis.

    Args:
        channels: 1 for grey, 3 for colour; a grey image has three equal channels then.
        intensity_range: ``(lo, hi)`` that become 0 and 1, intensities beyond them are clipped; None: 0..255, and only
            pictures of 8 bits are read.

    Raises:
        ValueError: if ``channels`` is neither 1 nor 3, or the range is no two numbers in rising order.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".nii") as file:
        ...     nibabel.Nifti1Image(np.full((4, 2), -500.0), np.eye(4)).to_filename(file.name)
        ...     reader = ImageFileReader(1, (-1000, 0))
        ...     image, _ = reader.get_data(reader.read(file.name))
        >>> image.shape, float(image[0, 0, 0])
        ((2, 4, 1), 0.5)
    """

    def __init__(self, channels: int = 1, intensity_range: Sequence[float] | None = None) -> None:
        if channels not in MODES or isinstance(channels, bool):
            raise ValueError(f"Got channels {channels!r}, expected 1 (grey) or 3 (red, green, blue).")
        self.channels = channels
        self.intensity_range = check_bounds(intensity_range, "intensity_range")

    def verify_suffix(self, filename: Any) -> bool:
        """Whether all names end as those of such files do."""
        return all(str(name).lower().endswith(IMAGE_SUFFIXES) for name in ensure_tuple(filename))

    def read(self, data: Any, **kwargs: Any) -> np.ndarray:
        """The image of a file, or of a sequence with one file.

        Raises:
            ValueError: if it is a volume, has several pages or intensities of no known range; the sentence names it.
        """
        (file,) = map(Path, ensure_tuple(data))
        image = self._nifti(file) if file.name.lower().endswith((".nii", ".nii.gz")) else self._picture(file)
        lo, hi = self.intensity_range or (0.0, 255.0)
        return np.clip((image - np.float32(lo)) / np.float32(hi - lo), 0, 1)

    def get_data(self, img: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """The image and what is known of it."""
        return img, {"spatial_shape": np.asarray(img.shape[:2]), "original_channel_dim": -1}

    def _picture(self, file: Path) -> np.ndarray:
        with Image.open(file) as picture:
            if (pages := getattr(picture, "n_frames", 1)) > 1:
                raise ValueError(f"Picture {file} has {pages} pages, expected one image a file.")
            if picture.mode in EIGHT_BITS:
                pixels = np.asarray(upright(picture, MODES[self.channels]), np.float32)
                return pixels[..., None] if pixels.ndim == 2 else pixels
            if picture.mode not in GREY_MODES:
                raise ValueError(f"Picture {file} has the mode {picture.mode}, expected one in grey or colour.")
            self._check_range(f"Picture {file} has more than 8 bits a pixel (mode {picture.mode})")
            return self._grey(np.asarray(turned(picture), np.float32), file)

    def _nifti(self, file: Path) -> np.ndarray:
        volume: Any = nibabel.load(file)
        shape = volume.shape
        if len(shape) < 2 or any(side != 1 for side in shape[2:]):
            raise ValueError(f"File {file} holds a volume of shape {shape}, expected a 2-D image.")
        if volume.get_data_dtype().fields is not None:
            raise ValueError(f"File {file} has several values a pixel, expected one: save colour images as pictures.")
        self._check_range(f"File {file} is NIfTI")
        return self._grey(volume.get_fdata(dtype=np.float32).reshape(shape[:2]).T, file)

    def _check_range(self, what: str) -> None:
        if self.intensity_range is None:
            raise ValueError(
                f"{what}, whose intensities have no known range, expected intensity_range (lo, hi) that becomes 0..1."
            )

    def _grey(self, pixels: np.ndarray, file: Path) -> np.ndarray:
        if not np.isfinite(pixels).all():
            raise ValueError(f"File {file} holds NaN or infinite values, expected finite intensities.")
        return np.repeat(pixels[..., None], self.channels, axis=2)
