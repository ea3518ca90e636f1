"""Which files an evaluation reads, and MONAI's transforms that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_ima.data import check_grids, class_files, image_label_pairs, table_classes
from monai_ima.data.class_files import classes_of_folders
from monai_ima.data.headers import Header, read_header
from monai_ima.data.pictures import EIGHT_BITS
from monai_ima.utils.scaling import scaling_transform

from .settings import FileSettings

__all__ = ["Files", "checked_files", "find_files"]

GREY = ("1", "L", "LA", "La")
BOTH = ["image", "label"]
CONFIG_MARKS = ("$", "@", "%")
"""What an expression, a reference or a macro of MONAI's configs begins with."""


@dataclass(frozen=True)
class Files:
    """The images and labels of an evaluation.

    Attributes:
        settings: as the user gave them.
        items: a data list.
        datalist: the component of a config that gives it.
        classes: names of a classifier's classes; None where labels are maps.
        headers: of the images, the first file of each.
        mode: of pictures as the network sees them: ``"L"``, ``"RGB"``, or None for other types of pixels and volumes.
    """

    settings: FileSettings
    items: list[dict[str, Any]]
    datalist: dict[str, Any]
    classes: list[str] | None
    headers: list[Header]
    mode: str | None

    @property
    def pictures(self) -> bool:
        """The images are pictures, which have no position in space."""
        return self.headers[0].mode is not None

    @property
    def dimensions(self) -> int:
        """Of an image in space: 2 or 3."""
        return len(self.headers[0].shape)

    @property
    def alike(self) -> bool:
        """All images are of one size when the network sees them, so that they fit in one batch."""
        return self.settings.spacing is None and len({header.shape for header in self.headers}) == 1

    @property
    def transforms(self) -> list[dict[str, Any]]:
        """MONAI's transforms from files to what the network sees."""
        maps = self.classes is None
        keys: str | list[str] = BOTH if maps else "image"
        steps = [*self._loading(maps), {"_target_": "EnsureChannelFirstd", "keys": keys}]
        if self.settings.orientation is not None:
            turned = {"axcodes": self.settings.orientation, "labels": None}
            steps.append({"_target_": "Orientationd", "keys": keys, **turned})
        if self.settings.spacing is not None:
            mode: str | list[str] = ["bilinear", "nearest"] if maps else "bilinear"
            steps.append({"_target_": "Spacingd", "keys": keys, "pixdim": list(self.settings.spacing), "mode": mode})
        return [*steps, *self._scaling()]

    def _loading(self, maps: bool) -> list[dict[str, Any]]:
        turn = {"_target_": "PIL.ImageOps.exif_transpose", "_mode_": "callable"}
        reader = {"_target_": "PILReader", "converter": turn, "reverse_indexing": False}
        image: dict[str, Any] = {"_target_": "LoadImaged", "keys": "image"}
        label: dict[str, Any] = {"_target_": "LoadImaged", "keys": "label"}
        if self.pictures:
            own = {"_target_": "monai_ima.data.PictureReader", "mode": self.mode}
            image["reader"] = reader if self.mode is None else own
            label["reader"] = reader
        elif maps:
            return [{"_target_": "LoadImaged", "keys": BOTH}]
        return [image, label] if maps else [image]

    def _scaling(self) -> list[dict[str, Any]]:
        if self.settings.scale is None:
            return []
        name, arguments = scaling_transform(self.settings.scale)
        each = {"channel_wise": not self.pictures} if "channel_wise" in arguments else {}
        return [{"_target_": name, "keys": "image", **arguments, **each}]


def find_files(settings: FileSettings) -> Files:
    """Find the images and labels of an evaluation, and check them by their headers.

    Args:
        settings: with ``images``.

    Raises:
        FileNotFoundError: if a folder, table or image is missing.
        ValueError: if images and labels do not go together, images are of several kinds, the settings do not go with
            their dimensions, or the package that MONAI reads a format with is not installed.
    """
    images, labels = Path(str(settings.images)).resolve(), settings.labels
    source = {"images": "@image_dir", **({} if labels is None else {"labels": "@label_dir"})}
    classes = None
    if labels is not None and Path(labels).suffix.lower() != ".csv":
        items = image_label_pairs(images, Path(labels).resolve())
        check_grids(items)
        datalist: dict[str, Any] = {"_target_": "monai_ima.data.image_label_pairs", **source}
    else:
        classes = settings.class_names or _found_classes(images, labels)
        _check_names(classes)
        items = class_files(images, labels, classes)
        datalist = {"_target_": "monai_ima.data.class_files", **source, "classes": classes}
    return checked_files(settings, items, datalist, classes)


def checked_files(
    settings: FileSettings, items: list[dict[str, Any]], datalist: dict[str, Any], classes: list[str] | None
) -> Files:
    """Images and labels, checked by the headers of the images.

    Args:
        settings: as the user gave them.
        items: a data list.
        datalist: the component of a config that gives it.
        classes: names of a classifier's classes; None where labels are maps.

    Raises:
        ValueError: if images are of several kinds, or the settings do not go with their dimensions.
    """
    firsts = [item["image"] if isinstance(item["image"], str) else item["image"][0] for item in items]
    headers = [read_header(file) for file in firsts]
    _check_kinds(firsts, headers)
    files = Files(settings, items, datalist, classes, headers, _mode(firsts, headers))
    _check_settings(files)
    return files


def _found_classes(images: Path, labels: str | None) -> list[str]:
    return classes_of_folders(images) if labels is None else table_classes(labels, images)


def _check_names(classes: Sequence[str]) -> None:
    """Names of classes get into a config, where MONAI would run or look up what begins so."""
    for name in classes:
        if name.startswith(CONFIG_MARKS) or "#" in name:
            raise ValueError(f"Got a class called {name!r}, expected names without # that begin with none of $, @, %.")


def _check_kinds(files: list[str], headers: list[Header]) -> None:
    for file, header in zip(files, headers, strict=True):
        if len(header.shape) != len(headers[0].shape):
            raise ValueError(
                f"Image {file} is {len(header.shape)}-D and {files[0]} is {len(headers[0].shape)}-D, expected all to "
                "be of one kind."
            )
        if (header.mode is None) != (headers[0].mode is None):
            raise ValueError(f"Images {file} and {files[0]} are a picture and a volume, expected all of one kind.")
        if header.mode is None and header.channels != headers[0].channels:
            raise ValueError(
                f"Image {file} has {header.channels} channel(s), expected {headers[0].channels} as {files[0]} has."
            )


def _mode(files: list[str], headers: list[Header]) -> str | None:
    """``"L"`` where all pictures are grey, ``"RGB"`` where some have colours, None where none has 8 bits."""
    modes: Iterable[str] = [header.mode for header in headers if header.mode is not None]
    deep = [mode not in EIGHT_BITS for mode in modes]
    if not any(deep):
        return ("L" if set(modes) <= set(GREY) else "RGB") if deep else None
    if not all(deep):
        file = files[deep.index(True)]
        raise ValueError(f"Picture {file} has more than 8 bits a pixel and others have 8, expected all of one kind.")
    return None


def _check_settings(files: Files) -> None:
    settings = files.settings
    for name, values in (("spacing", settings.spacing), ("window", settings.window)):
        if values is not None and len(values) != files.dimensions:
            raise ValueError(
                f"Got {name} {','.join(f'{value:g}' for value in values)}, expected {files.dimensions} numbers: images "
                f"such as {files.items[0]['image']} are {files.dimensions}-D."
            )
    for name, value in (("spacing", settings.spacing), ("orientation", settings.orientation)):
        if value is not None and files.pictures:
            raise ValueError(f"Option --{name} is for volumes, expected none: pictures have no position in space.")
    if settings.orientation is not None and files.dimensions != 3:
        raise ValueError(f"Option --orientation is for 3-D volumes, expected none for {files.dimensions}-D ones.")
    if settings.classes is not None and files.classes is None:
        raise ValueError("Option --classes is for a classifier, expected none for label maps.")
    if settings.window is not None and files.classes is not None:
        raise ValueError("Option --window is for label maps, expected none for a classifier.")
