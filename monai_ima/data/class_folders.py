"""Reader for pictures in class folders: ``{class}/FILE`` or ``{split}/{class}/FILE``, split by patient."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from monai_ima.utils.checks import check_choice

from .class_layout import (
    Scan,
    Splits,
    check_classes,
    class_files,
    count_table,
    folder_classes,
    picture_item,
    pooled,
    split_folders,
    without_patients,
)
from .folders import ALL, SPLITS, Datalist, check_fractions, dataset_folder
from .patients import patients_by_file
from .pictures import decode_all

__all__ = ["class_folder_datalist"]

DEALS = 20
"""Random deals of the patients that are tried before a folder is said to have too few of them."""

logger = logging.getLogger(__name__)


def class_folder_datalist(
    dataset_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    patient_pattern: str | None = None,
    patient_csv: str | os.PathLike | None = None,
    evaluated: str | None = None,
    per_class: int | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    check_images: bool = True,
) -> Datalist:
    """The pictures of a folder of class folders, split by patient.

    No patient is in two splits. A folder with ``test`` keeps its own split: scans of test patients leave ``train`` and
    ``val``, scans of validation patients leave ``train``; a missing ``val`` is taken out of ``train``. Without
    ``test``, or with class folders at the top, all scans are pooled and split.

    Args:
        dataset_dir: the folder.
        classes: names of the class folders, in the order of their indices; None: those found, sorted.
        patient_pattern: regular expression with one group, the patient, searched for in every file name.
        patient_csv: table of patients, see :func:`patients_by_file`. Without pattern and table a file is called
            CLASS-patient-n, with numbers for patient and n, as in Kermany's data set.
        evaluated: the only split that will be used: the others may be missing, and it may lack classes; "all": all
            scans of the folder, not split. None: for a training, every split has scans of every class.
        per_class: limit to the number of training scans of each class, drawn at random; a class with fewer keeps what
            it has; None for all.
        seed: of the split and of that draw.
        fractions: shares of the patients in train, val and test where a split has to be made.
        check_images: decode every image once, so that a damaged one is found before training starts.

    Returns:
        for each of train, val and test (or for ``"all"``) a list of
        ``{"image": file, "label": class index, "patient": str, "sample_id": path below dataset_dir}``, sorted.

    Raises:
        FileNotFoundError: if the folder is missing, it or a class folder holds no scans, or there is no table.
        ValueError: if a class folder or file name is not as expected, a file has no patient or two, two files are the
            same scan, a split lacks a class, or there are too few patients.
        DamagedImageError: if an image cannot be decoded.
    """
    if per_class is not None and (not isinstance(per_class, int) or per_class < 1):
        raise ValueError(f"Got per_class {per_class}, expected an integer >= 1 or None.")
    check_fractions(fractions)
    if evaluated is not None:
        check_choice("split", evaluated, (*SPLITS, ALL))
    root = dataset_folder(dataset_dir, "folders of scans, one a class")
    names = list(classes or folder_classes(root))
    found = _read(root, names, patient_pattern, patient_csv, some=evaluated is not None)
    splits = {ALL: pooled(found)} if evaluated == ALL else _split(found, root, names, fractions, seed, per_class)
    used = SPLITS if evaluated is None else [evaluated]
    check_classes({split: splits[split] for split in used}, root, names, every=evaluated is None)
    if check_images:
        decode_all([scan.file for scans in splits.values() for scan in scans])
    datalist = {
        split: [picture_item(scan.file, root, label=scan.label, patient=scan.patient) for scan in sorted(scans)]
        for split, scans in splits.items()
    }
    logger.info("Scans in %s:\n%s", root, count_table(datalist, names))
    return datalist


def _read(root: Path, names: Sequence[str], pattern: str | None, table: str | os.PathLike | None, some: bool) -> Splits:
    """The scans of each split folder; of class folders at the top under the name ""."""
    files = {split: class_files(folder, names, some) for split, folder in split_folders(root).items()}
    patients = patients_by_file((file for own in files.values() for file in own), root, pattern, table)
    return {
        split: [Scan(file, names.index(file.parent.name), patients.get(file) or _named_patient(file)) for file in own]
        for split, own in files.items()
    }


def _named_patient(file: Path) -> str:
    match = re.fullmatch(r"(.+)-([0-9]+)-([0-9]+)", file.stem)
    if match is None:
        raise ValueError(
            f"File {file} is not named as expected, CLASS-patient-n with numbers for patient and n; for other names "
            "give patient_pattern or patient_csv."
        )
    if match[1] != file.parent.name:
        raise ValueError(f"File {file} is named {match[1]} in the folder {file.parent.name}, expected the same class.")
    return match[2]


def _split(
    found: Splits, root: Path, names: Sequence[str], fractions: Sequence[float], seed: int, per_class: int | None
) -> Splits:
    rng = np.random.default_rng(seed)
    if "test" in found:
        splits = _keep_split(found, fractions[1] / (fractions[0] + fractions[1]), rng, root, names)
    else:
        scans = pooled(found)
        splits = _split_by_patient(scans, dict(zip(SPLITS, fractions, strict=True)), rng, root, names)
        logger.info("%s has no split of its own: %d scans were split by patient.", root, len(scans))
    if per_class is not None:
        splits["train"] = _limit(splits["train"], per_class, rng, len(names))
    return {split: splits[split] for split in SPLITS}


def _keep_split(found: Splits, val_share: float, rng: np.random.Generator, root: Path, names: Sequence[str]) -> Splits:
    test = found.get("test", [])
    taken = {scan.patient for scan in test}
    val = without_patients(found.get("val", []), taken, "val", "test")
    taken |= {scan.patient for scan in val}
    train = without_patients(found.get("train", []), taken, "train", "val or test")
    if not val and train:
        parts = _split_by_patient(train, {"train": 1 - val_share, "val": val_share}, rng, root, names)
        train, val = parts["train"], parts["val"]
        logger.info("No validation scans of patients of their own: %d scans were taken out of train.", len(val))
    return {"train": train, "val": val, "test": test}


def _split_by_patient(
    scans: list[Scan], shares: dict[str, float], rng: np.random.Generator, root: Path, names: Sequence[str]
) -> Splits:
    """No patient in two splits, and every class in each: the first of some random deals that achieves this."""
    by_patient: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_patient[scan.patient].append(scan)
    needed = {scan.label for scan in scans}
    for _ in range(DEALS):
        splits = _deal([by_patient[str(p)] for p in rng.permutation(sorted(by_patient))], shares, len(names))
        missing = [(label, name) for name, part in splits.items() for label in needed - {scan.label for scan in part}]
        if not missing:
            return splits
    label, name = missing[0]
    raise ValueError(
        f"Class {names[label]} of {root} has too few patients to split by patient: none is left for {name}, expected "
        f"at least {len(shares)} patients of each class."
    )


def _deal(patients: list[list[Scan]], shares: dict[str, float], classes: int) -> Splits:
    """Deal patients' scans out in order, each to the split that lacks most of the patient's rarest class."""
    totals = _per_class((scan for own in patients for scan in own), classes)
    splits: Splits = {name: [] for name in shares}
    counts = {name: np.zeros_like(totals) for name in shares}
    for own in patients:
        label = min({scan.label for scan in own}, key=lambda k: (totals[k], k))
        lacks = {name: (has[label] == 0, shares[name] * totals[label] - has[label]) for name, has in counts.items()}
        name = max(lacks, key=lacks.__getitem__)
        splits[name].extend(own)
        counts[name] += _per_class(own, classes)
    return splits


def _per_class(scans: Iterable[Scan], classes: int) -> np.ndarray:
    return np.bincount([scan.label for scan in scans], minlength=classes)


def _limit(scans: list[Scan], per_class: int, rng: np.random.Generator, classes: int) -> list[Scan]:
    limited: list[Scan] = []
    for label in range(classes):
        own = sorted(scan for scan in scans if scan.label == label)
        limited += [own[k] for k in rng.permutation(len(own))[:per_class]]
    return limited
