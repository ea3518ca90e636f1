"""Pictures of 8 bits a channel: which files they are, how they are read, whether they are whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monai.data import PILReader
from monai.utils import ensure_tuple
from PIL import ExifTags, Image, ImageOps
from tqdm import tqdm

from .folders import DamagedImageError

__all__ = ["PICTURE_SUFFIXES", "PictureReader", "decode_all", "is_picture", "upright"]

PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png")

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "CMYK", "YCbCr", "HSV", "LAB")

ON_ITS_SIDE = (5, 6, 7, 8)
"""The orientations of EXIF, of eight, that exchange height and width."""


class ScrambledPictureError(ValueError):
    """Pillow would read other pixels than those of the file."""


class PictureReader(PILReader):
    """Reads pictures of 8 bits a channel, upright, in grey or colour: ``LoadImaged("image", reader=PictureReader())``.

    The orientation that a camera notes (EXIF) is carried out. Pillow would turn pictures of 16 bits a pixel white; how
    many of their bits are used (12 in many scanners) is not written in them, so they are refused. Arrays are
    ``[height, width]``, or ``[height, width, 3]``.

    Args:
        mode: ``"L"`` for grey, ``"RGB"`` for colour.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".png") as file:
        ...     Image.new("RGB", (4, 2), "white").save(file)
        ...     reader = PictureReader()
        ...     reader.get_data(reader.read(file.name))[0].shape
        (2, 4)
    """

    def __init__(self, mode: str = "L") -> None:
        super().__init__(reverse_indexing=False)
        self.mode = mode

    def get_data(self, img: Any) -> Any:
        """Array and metadata of a picture.

        Raises:
            ValueError: if it has more than 8 bits a channel; the sentence names the file.
        """
        return super().get_data([upright(picture, self.mode) for picture in ensure_tuple(img)])


def upright(picture: Image.Image, mode: str) -> Image.Image:
    """A picture in 8 bits, turned as its camera notes; refused as :class:`PictureReader` says."""
    if picture.mode not in EIGHT_BITS:
        raise ValueError(
            f"Picture {getattr(picture, 'filename', '')} has more than 8 bits a pixel (mode {picture.mode}), expected "
            "8: scale its intensities to 0..255 first."
        )
    return turned(picture).convert(mode)


def turned(picture: Image.Image) -> Image.Image:
    """A picture as its camera notes that it is to be seen; refused as :func:`noted_orientation` says."""
    noted_orientation(picture)
    return ImageOps.exif_transpose(picture)


def noted_orientation(picture: Image.Image) -> int:
    """The orientation that a camera noted (EXIF), 1 (upright) to 8.

    Raises:
        ScrambledPictureError: if it is an uncompressed TIFF file that lies on its side, whose pixels Pillow puts into
            rows of the wrong length.
    """
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    uncompressed = picture.format == "TIFF" and picture.info.get("compression") == "raw"
    if uncompressed and orientation in ON_ITS_SIDE:
        raise ScrambledPictureError(
            f"Picture {getattr(picture, 'filename', '')} is an uncompressed TIFF file with the EXIF orientation "
            f"{orientation}, which Pillow does not read, expected it to be saved upright or compressed."
        )
    return orientation if orientation in range(1, 9) else 1


def is_picture(path: Path, suffixes: Sequence[str] = PICTURE_SUFFIXES) -> bool:
    """Whether a path is that of a file with one of these suffixes that is not hidden."""
    return path.name.lower().endswith(tuple(suffixes)) and not path.name.startswith(".") and path.is_file()


def decode(file: Path) -> None:
    """Read a picture's pixels, which fails where it is damaged or not as :class:`PictureReader` takes it."""
    with Image.open(file) as image:
        image.load()
        upright(image, "L")


def decode_all(files: Sequence[Path], decode: Callable[[Path], object] = decode) -> None:
    """Decode every image once, with a progress bar.

    Args:
        files: of the images.
        decode: reads one of them, and fails where it cannot be used.

    Raises:
        DamagedImageError: with the number of images that cannot be decoded and the names of the first five; of images
            that cannot be for the same reason the first one's sentence.
    """
    damaged: dict[str, list[str]] = defaultdict(list)
    sentences: dict[str, str] = {}
    for file in tqdm(files, desc="checking images", leave=False):
        try:
            decode(file)
        except Exception as error:
            reason = str(error).replace(str(file), "")
            damaged[reason].append(str(file))
            sentences.setdefault(reason, f"{file} ({error})")
    if damaged:
        first = [
            " and alike ".join([sentences[reason], *([", ".join(files[1:5])] if files[1:] else [])])
            for reason, files in damaged.items()
        ]
        raise DamagedImageError(
            f"{sum(map(len, damaged.values()))} image file(s) cannot be read, expected every one to decode; the first: "
            f"{'; '.join(first[:5])}."
        )
