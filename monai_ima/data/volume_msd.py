"""Reader for volumes in the layout of the Medical Segmentation Decathlon (MSD): dataset.json, imagesTr, labelsTr."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from monai_ima.utils.checks import check_choice, check_count
from monai_ima.utils.text import read_text

from .folders import ALL, SPLITS, Datalist, Item, check_fractions, dataset_folder
from .patients import patients_by_file
from .volume_files import NIFTI_SUFFIXES, channel_files, in_threads, read_channels, read_voxels
from .volume_split import split_scans

__all__ = ["check_volumes", "labelled_scans", "msd_datalist", "volume_scans"]

AFFINE_TOLERANCE = 1e-3
"""Largest difference, in mm, between the affines of an image and its label."""

MSD_LAYOUT = "the layout of an MSD task"

logger = logging.getLogger(__name__)


def msd_datalist(
    dataset_dir: str | os.PathLike,
    split: str | os.PathLike | Mapping[str, Sequence[str]] | None = None,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    channels: int = 1,
    classes: int = 2,
    min_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    check_files: bool = True,
    patient_pattern: str | None = None,
    patient_csv: str | os.PathLike | None = None,
    evaluated: str | None = None,
) -> Datalist:
    """The labelled scans of a folder in MSD layout, split by a list or at random, no patient in two splits.

    Args:
        dataset_dir: the folder, see :func:`labelled_scans`.
        split: ``{"train": ids, "val": ids, "test": ids}`` or a JSON file of that; scans in none of the lists go to
            train. None: a random split. So is one that names none of the folder's scans, which the log says.
        fractions: shares of the patients in train, val and test of a random split; each gets one at least.
        seed: of the random split.
        channels: see :func:`check_volumes`.
        classes: see :func:`check_volumes`.
        min_size: see :func:`check_volumes`.
        spacing: see :func:`check_volumes`.
        check_files: run :func:`check_volumes`, so that a damaged file is found before training starts. False: files are
            only looked for, not loaded.
        patient_pattern: regular expression with one group, the patient, searched for in every image's file name.
        patient_csv: table of patients, see :func:`patients_by_file`. Without pattern and table every scan is a patient
            of its own.
        evaluated: the only split that will be used: the list may leave others out, and name scans that are not there;
            "all": all scans of the folder, not split. None: for a training, every split has a scan.

    Returns:
        for each of train, val and test (or for ``"all"``) a list of
        ``{"image": file, "label": file, "sample_id": name without suffix}``, with ``"patient"`` where it is given,
        sorted by id.

    Raises:
        FileNotFoundError: when the folder, the split's file, the table or a listed file is missing.
        ValueError: when dataset.json or the split is not as expected, a scan has no patient or two, a patient is in two
            lists, or there are too few scans; and as :func:`check_volumes` does.
    """
    check_fractions(fractions)
    if evaluated is not None:
        check_choice("split", evaluated, (*SPLITS, ALL))
    items = labelled_scans(dataset_dir)
    files = [Path(item["image"]) for item in items]
    patients = patients_by_file(files, Path(dataset_dir).resolve(), patient_pattern, patient_csv)
    items = [item | ({"patient": patients[file]} if patients else {}) for file, item in zip(files, items, strict=True)]
    by_id = {item["sample_id"]: item for item in items}
    people = {sample_id: item.get("patient", sample_id) for sample_id, item in by_id.items()}
    ids = split_scans(people, split, fractions, seed, dataset_dir, evaluated)
    if check_files:
        check_volumes(items, channels, classes, min_size, spacing)
    logger.info("Scans in %s: %s.", dataset_dir, ", ".join(f"{len(own)} {name}" for name, own in ids.items()))
    return {name: [by_id[sample_id] for sample_id in sorted(own)] for name, own in ids.items()}


def labelled_scans(dataset_dir: str | os.PathLike) -> list[Item]:
    """The entries of ``training`` in a folder's dataset.json; hidden files are left out.

    A folder without dataset.json has its images in imagesTr and, under the same names, their labels in labelsTr.

    Args:
        dataset_dir: the folder.

    Returns:
        a list of ``{"image": file, "label": file, "sample_id": name without suffix}``, sorted by id.

    Raises:
        FileNotFoundError: when the folder, its dataset.json or a listed file is missing.
        ValueError: when dataset.json is not as expected, lists no scan, or lists one twice.
    """
    root = dataset_folder(dataset_dir, MSD_LAYOUT)
    file = root / "dataset.json"
    if not file.is_file():
        return _paired(root.resolve())
    try:
        entries = _placed(json.loads(read_text(file))["training"], root.resolve())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        expected = 'a list "training" of images and labels'
        raise ValueError(f"File {file} cannot be read ({error}), expected {expected}.") from error
    items = []
    for entry in entries:
        image, label = entry.get("image"), entry.get("label")
        if not isinstance(image, str) or not isinstance(label, str):
            raise ValueError(
                f'An entry of "training" in {file} is {entry}, expected one image file and one label file.'
            )
        if _is_volume(Path(image)):
            items.append({"image": image, "label": label, "sample_id": _sample_id(image)})
    if not items:
        raise ValueError(
            f'List "training" of {file} names no image, expected files ending in {" or ".join(NIFTI_SUFFIXES)}.'
        )
    return _existing(items, str(file))


def volume_scans(dataset_dir: str | os.PathLike) -> list[Item]:
    """The volumes of a folder, for inference; hidden files are left out.

    Of a folder that holds dataset.json these are the files in imagesTs, or in imagesTr when there are none; of any
    other folder, or when both are empty, the NIfTI files that lie directly in it.

    Args:
        dataset_dir: the folder.

    Returns:
        a list of ``{"image": file, "sample_id": name without suffix}``, sorted by id.

    Raises:
        FileNotFoundError: when the folder is missing or holds no volumes.
        ValueError: when two files are the same scan.
    """
    root = dataset_folder(dataset_dir, MSD_LAYOUT)
    parts = ("imagesTs", "imagesTr", "") if (root / "dataset.json").is_file() else ("",)
    for folder in (root / part for part in parts):
        files = [path for path in folder.iterdir() if _is_volume(path) and path.is_file()] if folder.is_dir() else []
        if files:
            return _sorted([{"image": str(file.resolve()), "sample_id": _sample_id(file)} for file in files])
    raise FileNotFoundError(f"Folder {root} holds no volumes, expected files ending in {' or '.join(NIFTI_SUFFIXES)}.")


def check_volumes(
    items: Sequence[Item],
    channels: int,
    classes: int,
    min_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
) -> None:
    """Read every image and label once, with a progress bar; the first item that is not as expected is refused.

    An image is ``[x, y, z]`` (one channel) or ``[x, y, z, channels]``, with finite numbers and an intensity range in
    each channel. Its label is ``[x, y, z]`` on the same grid, with integers from 0 to ``classes - 1``, not all 0.

    Args:
        items: ``{"image": file, "label": file}``; ``image`` may be a list of files, a channel each.
        channels: of the images, >= 1.
        classes: with the background, >= 2.
        min_size: smallest number of voxels along the file's axes, one number or three; None: any.
        spacing: in mm, one number or three: ``min_size`` holds after resampling to it; None: for the files' own grid.

    Raises:
        DamagedImageError: when a file cannot be read; a compressed file's checksum is looked at, too.
        ValueError: if an argument is out of its range or a file is not like that; the sentence names the file.
    """
    channels = check_count("channels", channels, 1)
    if not isinstance(classes, int) or classes < 2:
        raise ValueError(f"Got classes {classes}, expected an integer >= 2 that counts the background.")
    smallest = None if min_size is None else _three(min_size, "min_size")
    target = None if spacing is None else _three(spacing, "spacing")
    check = partial(_check_item, channels=channels, classes=classes, smallest=smallest, spacing=target)
    for _ in in_threads(check, items):
        pass


def _paired(root: Path) -> list[Item]:
    """Images in imagesTr and labels of the same names in labelsTr."""
    folder = root / "imagesTr"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Folder {root} holds no dataset.json, expected {MSD_LAYOUT}, or imagesTr and labelsTr."
        )
    images = [path for path in folder.iterdir() if _is_volume(path) and path.is_file()]
    if not images:
        raise FileNotFoundError(
            f"Folder {folder} holds no volumes, expected files ending in {' or '.join(NIFTI_SUFFIXES)}."
        )
    items = [
        {"image": str(image), "label": str(root / "labelsTr" / image.name), "sample_id": _sample_id(image)}
        for image in images
    ]
    return _existing(items, str(folder))


def _existing(items: list[Item], source: str) -> list[Item]:
    for item in items:
        for key in ("image", "label"):
            if not Path(item[key]).is_file():
                raise FileNotFoundError(f"File {item[key]} does not exist, expected the {key} that {source} lists.")
    return _sorted(items)


def _is_volume(path: Path) -> bool:
    return path.name.endswith(NIFTI_SUFFIXES) and not path.name.startswith(".")


def _sample_id(file: str | Path) -> str:
    return Path(file).name.removesuffix(".gz").removesuffix(".nii")


def _sorted(items: list[Item]) -> list[Item]:
    known: dict[str, str] = {}
    for item in items:
        sample_id, file = item["sample_id"], item["image"]
        if sample_id in known:
            raise ValueError(f"Files {known[sample_id]} and {file} are the same scan, expected each scan once.")
        known[sample_id] = file
    return sorted(items, key=lambda item: item["sample_id"])


def _placed(entries: Sequence[Mapping[str, object]], root: Path) -> list[dict[str, object]]:
    """Entries of a dataset.json with whole paths; separators may be Windows'."""
    return [
        {
            key: os.path.normpath(root / value.replace("\\", "/")) if isinstance(value, str) else value
            for key, value in entry.items()
        }
        for entry in entries
    ]


def _three(value: float | Sequence[float], name: str) -> np.ndarray:
    """One number or three as ``[3]``."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf" or numbers.shape not in ((), (3,)) or not (numbers > 0).all():
        raise ValueError(f"Got {name} {value}, expected one positive number or three.")
    return np.broadcast_to(numbers, 3)


def _check_item(
    item: Item, channels: int, classes: int, smallest: np.ndarray | None, spacing: np.ndarray | None
) -> None:
    image, image_affine = read_channels(item)
    label, label_affine = read_voxels(item["label"])
    _check_image(image, channel_files(item)[0], channels)
    _check_label(label, item["label"], classes)
    shape = image.shape[:3]
    if label.shape != shape:
        raise ValueError(f"Label {item['label']} has shape {label.shape}, expected {shape} as its image has.")
    if not np.allclose(image_affine, label_affine, rtol=0, atol=AFFINE_TOLERANCE):
        raise ValueError(f"Label {item['label']} has another affine than its image, expected the same position in mm.")
    if smallest is None:
        return
    size = np.array(shape)
    if spacing is not None:
        size = np.rint(size * voxel_sizes(image_affine) / spacing).astype(int)
    if (size < smallest).any():
        grid = "" if spacing is None else f" resampled to {_by(spacing)} mm"
        raise ValueError(f"Image {item['image']}{grid} has {_by(size)} voxels, expected at least {_by(smallest)}.")


def _by(numbers: np.ndarray) -> str:
    return "x".join(f"{number:g}" for number in numbers)


def _check_image(image: np.ndarray, file: str, channels: int) -> None:
    expected = "[x, y, z]" if channels == 1 else f"[x, y, z, {channels}]"
    if image.ndim != (3 if channels == 1 else 4) or (channels > 1 and image.shape[3] != channels):
        raise ValueError(f"Image {file} has shape {image.shape}, expected {expected}.")
    if not np.isfinite(image).all():
        raise ValueError(f"Image {file} holds NaN or infinite voxels, expected finite ones.")
    if (image.max(axis=(0, 1, 2)) == image.min(axis=(0, 1, 2))).any():
        raise ValueError(f"Image {file} has the same value everywhere, expected an intensity range in each channel.")


def _check_label(label: np.ndarray, file: str, classes: int) -> None:
    if label.ndim != 3:
        raise ValueError(f"Label {file} has shape {label.shape}, expected [x, y, z].")
    wrong = label[(label != np.rint(label)) | (label < 0) | (label >= classes)]
    if wrong.size:
        raise ValueError(f"Label {file} holds the value {wrong[0]}, expected integers from 0 to {classes - 1}.")
    if not label.any():
        raise ValueError(f"Label {file} has no foreground, expected at least one voxel above 0.")
