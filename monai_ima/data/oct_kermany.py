"""Reader for retinal OCT scans in the layout of Kermany et al. 2018: ``{split}/{class}/CLASS-patient-n.jpeg``."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .folders import SPLITS, DamagedImageError, Datalist, Item, as_table, check_fractions, dataset_folder, is_visible
from .pictures import upright

__all__ = ["CLASSES", "decode_all", "kermany_datalist", "scan_datalist", "summarize"]

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
SUFFIXES = (".jpeg", ".jpg", ".png")

DEALS = 20
"""Random deals of the patients that are tried before a folder is said to have too few of them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Scan:
    """One file, the index of its class in ``CLASSES`` and the number of its patient; sorted by file."""

    file: Path
    label: int
    patient: str


Splits = dict[str, list[Scan]]


def kermany_datalist(
    dataset_dir: str | os.PathLike,
    per_class: int | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    check_images: bool = True,
) -> Datalist:
    """The scans of a folder in Kermany's layout, split by patient.

    No patient, known by the number in the file name, is in two splits. A folder with ``train`` and ``test`` keeps its
    own split: scans of test patients leave ``train`` and ``val``, scans of validation patients leave ``train``; a
    missing ``val`` is taken out of ``train``. In any other case (one split folder, or class folders at the top) all
    scans are pooled and split.

    Args:
        dataset_dir: the folder.
        per_class: limit to the number of training scans of each class, drawn at random; a class with fewer keeps what
            it has; None for all.
        seed: of the split and of that draw.
        fractions: shares of the patients in train, val and test where a split has to be made.
        check_images: decode every image once, so that a damaged one is found before training starts.

    Returns:
        for each of train, val and test a list of
        ``{"image": file, "label": class index, "patient": number, "sample_id": path below dataset_dir}``, sorted.

    Raises:
        FileNotFoundError: when the folder is missing or holds no scans.
        ValueError: when a class folder or file name is not as expected, two files are the same scan, a split lacks a
            class, or there are too few patients.
        DamagedImageError: when an image cannot be decoded.
    """
    if per_class is not None and (not isinstance(per_class, int) or per_class < 1):
        raise ValueError(f"Got per_class {per_class}, expected an integer >= 1 or None.")
    check_fractions(fractions)
    root = dataset_folder(dataset_dir, "scans in Kermany's layout")
    found = {split: _read_split(root / name) for split, name in _split_folders(root).items()}
    rng = np.random.default_rng(seed)
    if {"train", "test"} <= set(found):
        splits = _keep_split(found, fractions[1] / (fractions[0] + fractions[1]), rng, root)
    else:
        pooled = [scan for scans in found.values() for scan in scans] if found else _read_split(root)
        splits = _split_by_patient(pooled, dict(zip(SPLITS, fractions, strict=True)), rng, root)
        logger.info("%s has no split of its own: %d scans were split by patient.", root, len(pooled))
    if per_class is not None:
        splits["train"] = _limit(splits["train"], per_class, rng)
    _check_classes(splits, root)
    if check_images:
        decode_all([scan.file for split in SPLITS for scan in splits[split]])
    datalist = {
        split: [_item(scan.file, root, label=scan.label, patient=scan.patient) for scan in sorted(splits[split])]
        for split in SPLITS
    }
    logger.info("Scans in %s:\n%s", root, summarize(datalist))
    return datalist


def scan_datalist(folder: str | os.PathLike) -> list[Item]:
    """All images below a folder, whatever their names, for inference; hidden files and folders are left out.

    Args:
        folder: the folder.

    Returns:
        a list of ``{"image": file, "sample_id": path below the folder}``, sorted.

    Raises:
        FileNotFoundError: when the folder is missing or holds no images.
    """
    root = dataset_folder(folder, "scans")
    files = sorted(path for path in root.rglob("*") if _is_image(path) and is_visible(path.relative_to(root)))
    if not files:
        raise FileNotFoundError(f"Folder {root} holds no images, expected files ending in {', '.join(SUFFIXES)}.")
    return [_item(file, root) for file in files]


def summarize(datalist: Datalist) -> str:
    """A table of ``scans/patients`` for each split and class, as :func:`kermany_datalist` returns them."""
    rows = [["scans/patients", *CLASSES, "all"]]
    for split, items in datalist.items():
        by_class = [[item for item in items if item["label"] == label] for label in range(len(CLASSES))]
        cells = [f"{len(part)}/{len({item['patient'] for item in part})}" for part in (*by_class, items)]
        rows.append([split, *cells])
    return as_table(rows, width=14)


def _visible_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and is_visible(p.relative_to(root)))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _split_folders(root: Path) -> dict[str, str]:
    folders = [p.name for p in _visible_folders(root)]
    if not folders:
        raise FileNotFoundError(
            f"Dataset folder {root} holds no folders, expected {', '.join(SPLITS)} or {', '.join(CLASSES)}."
        )
    splits = {name.strip(): name for name in folders if name.strip() in SPLITS}
    for name in folders:
        if splits.get(name.strip(), name) != name:
            raise ValueError(f"Folder {root} holds {name.strip()!r} twice, expected each split once.")
    strange = [name for name in folders if name.strip() not in SPLITS]
    if splits and strange:
        raise ValueError(f"Folder {root / strange[0]} is not a split, expected {', '.join(SPLITS)} only.")
    return splits


def _read_split(folder: Path) -> list[Scan]:
    classes = _visible_folders(folder)
    for path in classes:
        if path.name not in CLASSES:
            raise ValueError(f"Folder {path} is not a class, expected {', '.join(CLASSES)}.")
        inner = _visible_folders(path)
        if inner:
            raise ValueError(f"Folder {inner[0]} is inside a class folder, expected image files only.")
    missing = [name for name in CLASSES if name not in {path.name for path in classes}]
    if missing:
        raise ValueError(f"Folder {folder} has no folder {missing[0]}, expected {', '.join(CLASSES)}.")
    scans = [_scan(file) for path in classes for file in sorted(path.iterdir()) if _is_image(file)]
    if not scans:
        raise FileNotFoundError(f"Folder {folder} holds no scans, expected files such as CNV/CNV-123456-1.jpeg.")
    for scan, following in pairwise(scans):
        if scan.file.with_suffix("") == following.file.with_suffix(""):
            names = f"{scan.file} and {following.file.name}"
            raise ValueError(f"Files {names} are the same scan, expected one file a scan.")
    return scans


def _scan(file: Path) -> Scan:
    match = re.fullmatch(r"([A-Z]+)-([0-9]+)-([0-9]+)", file.stem)
    if match is None:
        raise ValueError(f"File {file} is not named as expected, CLASS-patient-n with numbers for patient and n.")
    if match[1] != file.parent.name:
        raise ValueError(f"File {file} is named {match[1]} in the folder {file.parent.name}, expected the same class.")
    return Scan(file, CLASSES.index(match[1]), match[2])


def _keep_split(found: Splits, val_share: float, rng: np.random.Generator, root: Path) -> Splits:
    test = found["test"]
    taken = {scan.patient for scan in test}
    val = _without(found.get("val", []), taken, "val", "test")
    taken |= {scan.patient for scan in val}
    train = _without(found["train"], taken, "train", "val or test")
    if not val:
        parts = _split_by_patient(train, {"train": 1 - val_share, "val": val_share}, rng, root)
        train, val = parts["train"], parts["val"]
        logger.info("No validation scans of patients of their own: %d scans were taken out of train.", len(val))
    return {"train": train, "val": val, "test": test}


def _without(scans: list[Scan], patients: set[str], split: str, other: str) -> list[Scan]:
    kept = [scan for scan in scans if scan.patient not in patients]
    if len(kept) < len(scans):
        left_out = f"{len(scans) - len(kept)} of {len(scans)} scans"
        logger.warning("%s were left out of %s: their patients are in %s too.", left_out, split, other)
    return kept


def _split_by_patient(scans: list[Scan], shares: dict[str, float], rng: np.random.Generator, root: Path) -> Splits:
    """No patient in two splits, and every class in each: the first of some random deals that achieves this."""
    by_patient: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_patient[scan.patient].append(scan)
    needed = {scan.label for scan in scans}
    for _ in range(DEALS):
        splits = _deal([by_patient[str(p)] for p in rng.permutation(sorted(by_patient))], shares)
        missing = [(label, name) for name, part in splits.items() for label in needed - {scan.label for scan in part}]
        if not missing:
            return splits
    label, name = missing[0]
    raise ValueError(
        f"Class {CLASSES[label]} of {root} has too few patients to split by patient: none is left for {name}, expected "
        f"at least {len(shares)} patients of each class."
    )


def _deal(patients: list[list[Scan]], shares: dict[str, float]) -> Splits:
    """Deal patients' scans out in order, each to the split that lacks most of the patient's rarest class."""
    totals = _per_class(scan for own in patients for scan in own)
    splits: Splits = {name: [] for name in shares}
    counts = {name: np.zeros_like(totals) for name in shares}
    for own in patients:
        label = min({scan.label for scan in own}, key=lambda k: (totals[k], k))
        lacks = {name: (has[label] == 0, shares[name] * totals[label] - has[label]) for name, has in counts.items()}
        name = max(lacks, key=lacks.__getitem__)
        splits[name].extend(own)
        counts[name] += _per_class(own)
    return splits


def _per_class(scans: Iterable[Scan]) -> np.ndarray:
    return np.bincount([scan.label for scan in scans], minlength=len(CLASSES))


def _limit(scans: list[Scan], per_class: int, rng: np.random.Generator) -> list[Scan]:
    limited: list[Scan] = []
    for label in range(len(CLASSES)):
        own = sorted(scan for scan in scans if scan.label == label)
        limited += [own[k] for k in rng.permutation(len(own))[:per_class]]
    return limited


def _check_classes(splits: Splits, root: Path) -> None:
    for name, scans in splits.items():
        for label, class_name in enumerate(CLASSES):
            if not any(scan.label == label for scan in scans):
                raise ValueError(f"Split {name} of {root} has no scan of class {class_name}, expected at least one.")


def decode_all(files: Sequence[Path]) -> None:
    """Decode every image once, with a progress bar.

    Raises:
        DamagedImageError: with the number of images that cannot be decoded and the names of the first five.
    """
    damaged: list[str] = []
    for file in tqdm(files, desc="checking images", leave=False):
        try:
            with Image.open(file) as image:
                image.load()
                upright(image, "L")
        except Exception as error:
            damaged.append(f"{file} ({error})")
    if damaged:
        raise DamagedImageError(
            f"{len(damaged)} image file(s) cannot be read, expected every one to decode; the first: "
            f"{'; '.join(damaged[:5])}."
        )


def _item(file: Path, root: Path, **known: str | int) -> Item:
    return {"image": str(file.resolve()), **known, "sample_id": file.relative_to(root).as_posix()}
