"""Images and labels of two folders that go together by name, and whether each label lies on its image's grid."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from monai_ima.utils.checks import check_path

from .folders import Item
from .headers import IMAGE_SUFFIXES, Header, image_suffix, read_header

__all__ = ["check_grids", "image_label_pairs"]

CHANNEL = re.compile(r"(.+)_(\d{4})")
"""nnU-Net's names of images: of the case and of the channel."""

AFFINE_TOLERANCE = 1e-3
"""Largest difference, in mm, between the affines of an image and its label."""

NAMED = 3
"""So many files are named in errors."""

Files = dict[str, Path]


def image_label_pairs(images: str | os.PathLike, labels: str | os.PathLike) -> list[Item]:
    """The images of one folder with the labels of the same names in another.

    Names are compared without their endings (.nii.gz, .nii, .nrrd, .mha, .mhd, .png, .jpg, .jpeg, .tif, .tiff). An
    image may be called as in nnU-Net, ``case_0000``; further files ``case_0001`` ... are its further channels. Hidden
    files, files that are no images and folders inside are passed over. Of the files only the headers are read.

    Args:
        images: the folder of images.
        labels: the folder of labels.

    Returns:
        ``{"image": file, "label": file, "sample_id": name}`` for every image, sorted by name; ``image`` is a list of
        files, a channel each, where there are several.

    Raises:
        FileNotFoundError: if a folder is missing or holds no image files.
        DamagedImageError: if the header of an image cannot be read.
        ValueError: if both are one folder, no names agree, an image has no label or a label no image, two files have
            one name, images have different channels, some are 2-D and others 3-D, or the package that MONAI reads a
            format with is not installed.

    Example:
        >>> import tempfile, nibabel
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder, name in (("images", "case_0000"), ("labels", "case")):
        ...     (root / folder).mkdir()
        ...     nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4)), root / folder / f"{name}.nii.gz")
        >>> [item["sample_id"] for item in image_label_pairs(root / "images", root / "labels")]
        ['case']
    """
    image_folder, label_folder = _folder("images", images), _folder("labels", labels)
    if image_folder.resolve() == label_folder.resolve():
        raise ValueError(f"Images and labels are both in {image_folder}, expected two folders.")
    label_files = _by_name(label_folder)
    channels = _channels(_by_name(image_folder), label_files)
    _check_names(channels, label_files, image_folder, label_folder)
    _check_channels(channels)
    items = [
        {"image": _one_or_all(list(files.values())), "label": str(label_files[name]), "sample_id": name}
        for name, files in sorted(channels.items())
    ]
    _check_dimensions(items)
    return items


def check_grids(items: Iterable[Item]) -> None:
    """Make sure that each label, and each channel of an image, lies on the grid of the image.

    Args:
        items: as :func:`image_label_pairs` returns them. Only headers are read.

    Raises:
        DamagedImageError: if a header cannot be read.
        ValueError: if a label is no picture where its image is one or the other way round, is a picture in colour, or
            has another EXIF orientation, shape or affine than its image (the sentence has the numbers), or the package
            that MONAI reads a format with is not installed.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> Image.new("L", (4, 2)).save(root / "a.png")
        >>> Image.new("L", (4, 3)).save(root / "b.png")
        >>> check_grids([{"image": str(root / "a.png"), "label": str(root / "a.png")}])
        >>> check_grids([{"image": str(root / "a.png"), "label": str(root / "b.png")}])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: Label .../b.png has shape (4, 3), expected (4, 2) as its image .../a.png has.
    """
    for item in items:
        first, *further = _files(item)
        header = read_header(first)
        for file in further:
            _check_grid("Image", file, read_header(file), "its first channel", first, header)
        label = read_header(item["label"])
        if label.mode is not None and label.channels > 1:
            raise ValueError(f"Label {item['label']} is a picture of mode {label.mode}, expected class indices.")
        _check_grid("Label", item["label"], label, "its image", first, header)


def _check_grid(kind: str, file: str, header: Header, of_what: str, first: str, expected: Header) -> None:
    if (header.mode is None) != (expected.mode is None):
        raise ValueError(f"{kind} {file} is of another kind than {of_what} {first}, expected two pictures or none.")
    if header.orientation != expected.orientation:
        raise ValueError(
            f"{kind} {file} has the EXIF orientation {header.orientation} and {of_what} {first} "
            f"{expected.orientation}, which may be two grids: expected the same (save both turned, without EXIF)."
        )
    if header.shape != expected.shape:
        raise ValueError(f"{kind} {file} has shape {header.shape}, expected {expected.shape} as {of_what} {first} has.")
    if header.affine is None or expected.affine is None:
        return
    difference = np.abs(header.affine - expected.affine)
    if difference.max() > AFFINE_TOLERANCE:
        row, column = np.unravel_index(int(difference.argmax()), difference.shape)
        raise ValueError(
            f"{kind} {file} has the affine {_rows(header.affine)}, expected {_rows(expected.affine)} as {of_what} "
            f"{first} has (row {row}, column {column} differs by {difference.max():.4g})."
        )


def _rows(affine: np.ndarray) -> str:
    return "[" + "; ".join(" ".join(f"{number:g}" for number in row) for row in affine[:3]) + "]"


def _folder(name: str, folder: str | os.PathLike) -> Path:
    root = Path(check_path(name, folder))
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"Folder {root} of the {name} {what}, expected a folder of image files.")
    return root


def _by_name(folder: Path) -> Files:
    """The image files of a folder by their names without suffix."""
    found: Files = {}
    for path in sorted(folder.iterdir()):
        suffix = image_suffix(path)
        if suffix is None or path.name.startswith(".") or not path.is_file():
            continue
        name = path.name[: -len(suffix)]
        if name in found:
            raise ValueError(f"Files {found[name]} and {path.name} have one name, expected one file of each name.")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"Folder {folder} holds no image files, expected names ending in {_endings()}.")
    return found


def _endings() -> str:
    return f"{', '.join(IMAGE_SUFFIXES[:-1])} or {IMAGE_SUFFIXES[-1]}"


def _channels(images: Files, labels: Files) -> dict[str, Files]:
    """The files of each case by the number of their channel, "" where the image is called as its label."""
    cases: dict[str, Files] = {}
    for name, path in images.items():
        match = None if name in labels else CHANNEL.fullmatch(name)
        case, channel = (match[1], match[2]) if match and match[1] in labels else (name, "")
        cases.setdefault(case, {})[channel] = path
    return cases


def _check_names(cases: dict[str, Files], labels: Files, image_folder: Path, label_folder: Path) -> None:
    unlabelled = [str(path.name) for name in sorted(cases.keys() - labels.keys()) for path in cases[name].values()]
    without_image = [labels[name].name for name in sorted(labels.keys() - cases.keys())]
    if not cases.keys() & labels.keys():
        raise ValueError(
            f"No image in {image_folder} has the name of a label in {label_folder} (such as {unlabelled[0]} and "
            f"{without_image[0]}), expected the same names."
        )
    if unlabelled:
        raise ValueError(
            f"{len(unlabelled)} image(s) in {image_folder} have no label in {label_folder}: {_some(unlabelled)}; "
            "expected one of the same name for each."
        )
    if without_image:
        raise ValueError(
            f"{len(without_image)} label(s) in {label_folder} have no image in {image_folder}: {_some(without_image)}; "
            "expected one of the same name for each."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _check_channels(cases: dict[str, Files]) -> None:
    first = min(cases)
    for name, files in sorted(cases.items()):
        if "" in files and len(files) > 1:
            paths = " and ".join(str(path) for path in list(files.values())[:2])
            raise ValueError(f"Files {paths} are of one image, expected a number of the channel in all names or none.")
        if files.keys() != cases[first].keys():
            raise ValueError(
                f"Image {name} has the channels {_listed(files)}, expected {_listed(cases[first])} as {first} has."
            )


def _listed(files: Files) -> str:
    return ", ".join(channel or "(one file)" for channel in files)


def _one_or_all(files: Sequence[Path]) -> str | list[str]:
    return str(files[0]) if len(files) == 1 else [str(file) for file in files]


def _files(item: Item) -> list[str]:
    return [str(item["image"])] if isinstance(item["image"], (str, os.PathLike)) else list(item["image"])


def _check_dimensions(items: Sequence[Item]) -> None:
    first = _files(items[0])[0]
    expected = len(read_header(first).shape)
    for item in items:
        for file in _files(item):
            dimensions = len(read_header(file).shape)
            if dimensions != expected:
                raise ValueError(
                    f"Image {file} is {dimensions}-D and {first} is {expected}-D, expected all to be of one kind."
                )
