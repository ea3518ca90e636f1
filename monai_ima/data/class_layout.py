"""What readers of class folders share: which folders and files there are, and what a data list holds of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .folders import SPLITS, Datalist, Item, as_table, dataset_folder, is_visible
from .pictures import PICTURE_SUFFIXES, is_picture

__all__ = [
    "Scan",
    "Splits",
    "check_classes",
    "class_files",
    "count_table",
    "folder_classes",
    "picture_item",
    "pooled",
    "split_folders",
    "without_patients",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Scan:
    """One file, the index of its class and its patient; sorted by file."""

    file: Path
    label: int
    patient: str


Splits = dict[str, list[Scan]]


def folder_classes(dataset_dir: str | os.PathLike) -> list[str]:
    """The names of a folder's class folders, of all its splits together, sorted; by number where all are integers.

    Args:
        dataset_dir: as for :func:`class_folder_datalist`.

    Raises:
        FileNotFoundError: if the folder is missing or holds no folders.
        ValueError: if there are fewer than two classes, or other folders beside those of splits.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("train/scar", "train/healthy", "test/scar"):
        ...     (root / name).mkdir(parents=True)
        >>> folder_classes(root)
        ['healthy', 'scar']
    """
    root = dataset_folder(dataset_dir, "folders of scans, one a class")
    names = in_order({path.name for folder in split_folders(root).values() for path in _visible_folders(folder)})
    if len(names) < 2:
        raise ValueError(f"Folder {root} holds {len(names)} class folder(s), expected at least two.")
    return names


def in_order(names: Collection[str]) -> list[str]:
    """Names of classes, sorted; by number where all of them are integers.

    Example:
        >>> in_order({"10", "9"}), in_order({"10", "9", "b"})
        (['9', '10'], ['10', '9', 'b'])
    """
    return sorted(names, key=_number_first if all(name.isdecimal() for name in names) else None)


def _number_first(name: str) -> tuple[int, str]:
    return int(name), name


def count_table(datalist: Datalist, classes: Sequence[str]) -> str:
    """A table of ``scans/patients`` for each split and class; scans of nobody known count as a patient each."""
    rows = [["scans/patients", *classes, "all"]]
    for split, items in datalist.items():
        by_class = [[item for item in items if item["label"] == label] for label in range(len(classes))]
        cells = [f"{len(part)}/{len(set(map(_whose, part)))}" for part in (*by_class, items)]
        rows.append([split, *cells])
    return as_table(rows, width=max(14, *(len(name) + 2 for name in classes)))


def _whose(item: Item) -> str:
    return item["patient"] if "patient" in item else item["sample_id"]


def picture_item(file: Path, root: Path, **known: str | int) -> Item:
    """A picture of a folder, with what is known of it and its path below the folder as its id."""
    return {"image": str(file.resolve()), **known, "sample_id": file.relative_to(root).as_posix()}


def _visible_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and is_visible(p.relative_to(root)))


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits; the root itself, called "", where there are none."""
    folders = [p.name for p in _visible_folders(root)]
    if not folders:
        raise FileNotFoundError(f"Dataset folder {root} holds no folders, expected {', '.join(SPLITS)} or one a class.")
    splits = {name.strip(): name for name in folders if name.strip() in SPLITS}
    for name in folders:
        if splits.get(name.strip(), name) != name:
            raise ValueError(f"Folder {root} holds {name.strip()!r} twice, expected each split once.")
    strange = [name for name in folders if name.strip() not in SPLITS]
    if splits and strange:
        raise ValueError(f"Folder {root / strange[0]} is not a split, expected {', '.join(SPLITS)} only.")
    return {split: root / name for split, name in splits.items()} or {"": root}


def class_files(
    folder: Path, names: Sequence[str], some: bool, suffixes: Sequence[str] = PICTURE_SUFFIXES
) -> list[Path]:
    """The files with these suffixes of all classes; with ``some`` classes may be missing."""
    classes = _visible_folders(folder)
    for path in classes:
        if path.name not in names:
            raise ValueError(f"Folder {path} is not a class, expected {', '.join(names)}.")
        inner = _visible_folders(path)
        if inner:
            raise ValueError(f"Folder {inner[0]} is inside a class folder, expected image files only.")
    missing = [name for name in names if name not in {path.name for path in classes}]
    if missing and not some:
        raise ValueError(f"Folder {folder} has no folder {missing[0]}, expected {', '.join(names)}.")
    by_class = {path: sorted(file for file in path.iterdir() if is_picture(file, suffixes)) for path in classes}
    files = [file for own in by_class.values() for file in own]
    if not files:
        raise FileNotFoundError(f"Folder {folder} holds no scans, expected files such as {names[0]}/FILE.jpeg.")
    for path, own in by_class.items():
        if not own:
            expected = f"files ending in {', '.join(suffixes)}"
            raise FileNotFoundError(f"Class folder {path} holds no scan, expected {expected}.")
    for file, following in pairwise(files):
        if _without_suffix(file, suffixes) == _without_suffix(following, suffixes):
            raise ValueError(f"Files {file} and {following.name} are the same scan, expected one file a scan.")
    return files


def _without_suffix(file: Path, suffixes: Sequence[str]) -> Path:
    suffix = next(suffix for suffix in suffixes if file.name.lower().endswith(suffix))
    return file.with_name(file.name[: -len(suffix)])


def without_patients(scans: list[Scan], patients: set[str], split: str, other: str) -> list[Scan]:
    """The scans of a split but those of patients of another one; the log says how many are left out."""
    kept = [scan for scan in scans if scan.patient not in patients]
    if len(kept) < len(scans):
        left_out = f"{len(scans) - len(kept)} of {len(scans)} scans"
        logger.warning("%s were left out of %s: their patients are in %s too.", left_out, split, other)
    return kept


def pooled(found: Splits) -> list[Scan]:
    """The scans of all splits."""
    return [scan for scans in found.values() for scan in scans]


def check_classes(splits: Splits, root: Path, names: Sequence[str], every: bool) -> None:
    """Refuse a split without scans, and with ``every`` one that lacks a class."""
    for split, scans in splits.items():
        if not scans:
            raise ValueError(f"Split {split} of {root} has no scan, expected at least one.")
        missing = set(range(len(names))) - {scan.label for scan in scans}
        if missing and every:
            raise ValueError(
                f"Split {split} of {root} has no scan of class {names[min(missing)]}, expected at least one."
            )
