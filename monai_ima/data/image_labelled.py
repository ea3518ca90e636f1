"""Reader for labelled images of the user's own, in class folders or a table; split by patient where one is known."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_ima.utils.checks import check_choice, check_path

from .class_layout import class_files, count_table, folder_classes, split_folders
from .folders import ALL, SPLITS, Datalist, Item, check_fractions, dataset_folder
from .grouped_split import grouped_split
from .image_files import IMAGE_SUFFIXES, ImageFileReader
from .image_table import is_table, read_table, table_classes
from .kept_split import check_split_is_known
from .patients import patients_by_file
from .pictures import decode_all
from .volume_split import SplitLists, listed_split, names_any

__all__ = ["image_classes", "labelled_image_datalist"]

logger = logging.getLogger(__name__)

Splits = dict[str, list[Item]]


@dataclass(frozen=True)
class Source:
    """Where the images are from, the classes' names, and the images of each split folder, or of none under ""."""

    place: Path
    classes: list[str]
    found: Splits


def labelled_image_datalist(
    dataset_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    patient_pattern: str | None = None,
    patient_csv: str | os.PathLike | None = None,
    split: SplitLists | None = None,
    evaluated: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    reader: ImageFileReader | None = None,
    check_images: bool = True,
) -> Datalist:
    """The labelled images of a folder or a table: PNG, JPEG, TIFF and 2-D NIfTI.

    Class folders are at the top or in ImageNet's layout, below ``train``, ``val`` and ``test``. Split folders are kept
    as they are, and what is missing of ``val`` and ``test`` is taken out of ``train``; without them all images are
    split. Every split has all classes, and no patient is in two of them: images of test patients leave ``val`` and
    ``train``, those of validation patients ``train``. Where no patients are known, each image counts as one.

    Args:
        dataset_dir: the folder, or a CSV file with the columns image, label and patient (the last may be missing).
        classes: names of the classes, in the order of their indices; None: those found, sorted.
        patient_pattern: regular expression with one group, the patient, searched for in every file name.
        patient_csv: table with the columns file and patient, for class folders.
        split: ids by split, or a JSON file of that, for data without split folders; lists that name none of the images
            are ignored by a training, and images in no list train.
        evaluated: the only split that will be used: the others may be missing, and it may lack classes, but it is not
            drawn at random, ``split`` or folders must say it; "all": all images, not split. None: for a training,
            every split has images of every class.
        seed: of the random split.
        fractions: shares of train, val and test where a split has to be made.
        reader: of the images; None: grey ones of 8 bits.
        check_images: read every image once, so that a damaged one is found before training starts.

    Returns:
        for each of train, val and test (or for ``"all"``) a list of
        ``{"image": file, "label": class index, "sample_id": path below dataset_dir}``, with ``"patient"`` where one is
        known, sorted by id.

    Raises:
        FileNotFoundError: if folder, table or images are missing.
        ValueError: if folders, table, labels or patients are not as expected, or too few for a split; or nothing says
            which images the evaluated split has.
        DamagedImageError: if an image cannot be read.
    """
    check_fractions(fractions)
    if evaluated is not None:
        check_choice("split", evaluated, (*SPLITS, ALL))
    source = _read(check_path("dataset_dir", dataset_dir), classes, patient_pattern, patient_csv, evaluated is not None)
    splits = _split(source, split, evaluated, seed, fractions)
    used = [evaluated] if evaluated else SPLITS
    _check_every_class(splits, source, used, every=evaluated is None)
    if check_images:
        decode_all([Path(item["image"]) for name in used for item in splits[name]], (reader or ImageFileReader()).read)
    datalist = {name: sorted(items, key=lambda item: item["sample_id"]) for name, items in splits.items()}
    logger.info("Images of %s:\n%s", source.place, count_table(datalist, source.classes))
    return datalist


def image_classes(dataset_dir: str | os.PathLike) -> list[str]:
    """The names of the classes in a folder of class folders or in a table, sorted.

    Raises:
        FileNotFoundError: if the folder or table is missing, or holds no classes.
        ValueError: if there are fewer than two.
    """
    return table_classes(dataset_dir) if is_table(dataset_dir) else folder_classes(dataset_dir)


def _read(
    dataset_dir: str, classes: Sequence[str] | None, pattern: str | None, table: str | os.PathLike | None, some: bool
) -> Source:
    if is_table(dataset_dir):
        return _from_table(Path(dataset_dir), list(classes or table_classes(dataset_dir)), pattern, table)
    root = dataset_folder(dataset_dir, "folders of images, one a class, or a CSV file")
    names = list(classes or folder_classes(root))
    folders = split_folders(root)
    files = {name: class_files(folder, names, some, IMAGE_SUFFIXES) for name, folder in folders.items()}
    patients = patients_by_file((file for own in files.values() for file in own), root, pattern, table)
    found = {
        name: [
            _item(file, file.relative_to(root).as_posix(), names.index(file.parent.name), patients.get(file))
            for file in own
        ]
        for name, own in files.items()
    }
    return Source(root, names, found)


def _from_table(table: Path, names: list[str], pattern: str | None, patients: str | os.PathLike | None) -> Source:
    if patients is not None:
        raise ValueError(f"Got a patient_csv beside the table {table}, expected the patients in its column patient.")
    rows = read_table(table)
    for row in rows:
        if row.label not in names:
            raise ValueError(f"File {table} has the label {row.label} for {row.name}, expected {', '.join(names)}.")
    named = patients_by_file((row.file for row in rows), table.parent, pattern)
    items = [_item(row.file, row.name, names.index(row.label), row.patient or named.get(row.file)) for row in rows]
    return Source(table, names, {"": items})


def _item(file: Path, name: str, label: int, patient: str | None) -> Item:
    known = {} if patient is None else {"patient": patient}
    return {"image": str(file.resolve()), "label": label, **known, "sample_id": name}


def _split(
    source: Source, lists: SplitLists | None, evaluated: str | None, seed: int, fractions: Sequence[float]
) -> Splits:
    items = [item for own in source.found.values() for item in own]
    _say_whose(items, source)
    if evaluated == ALL:
        return {ALL: items}
    complete = set(source.found) >= ({evaluated} if evaluated else set(SPLITS))
    by_id = {item["sample_id"]: item for item in items}
    if evaluated is not None:
        known = complete or (lists is not None and names_any(lists, by_id, evaluated))
        check_split_is_known(known, evaluated, source.place, ("split_lists", "split"))
    if lists is not None and not complete:
        patients = {sample_id: _patient(item) for sample_id, item in by_id.items()}
        ids = listed_split(patients, lists, source.place, evaluated)
        if ids is not None:
            logger.info("Images of %s are split as the given lists say.", source.place)
            return {name: [by_id[sample_id] for sample_id in own] for name, own in ids.items()}
    test, val, train = _without_straddling({name or "train": own for name, own in source.found.items()})
    if complete:
        return {"train": train, "val": val, "test": test}
    if not test:
        train, test = _held_out(train, fractions[2], seed, source, "test", needed=1 if val else 2)
    if not val:
        train, val = _held_out(train, fractions[1] / (fractions[0] + fractions[1]), seed, source, "val")
    return {"train": train, "val": val, "test": test}


def _without_straddling(found: Splits) -> list[list[Item]]:
    """Images of test, val and train, each without those of patients in the splits before."""
    taken: set[str] = set()
    kept = []
    for name in reversed(SPLITS):
        items = found.get(name, [])
        kept.append([item for item in items if _patient(item) not in taken])
        if len(kept[-1]) < len(items):
            count = f"{len(items) - len(kept[-1])} of {len(items)} images"
            logger.warning("%s were left out of %s: their patients are in another split too.", count, name)
        taken |= {_patient(item) for item in kept[-1]}
    return kept


def _held_out(
    items: list[Item], share: float, seed: int, source: Source, name: str, needed: int = 1
) -> tuple[list[Item], list[Item]]:
    """The images that remain, and those of the new split."""
    if not items:
        raise ValueError(f"{source.place} has no images to train, expected some to take the split {name} out of.")
    patients = [_patient(item) for item in items] if any("patient" in item for item in items) else None
    try:
        chosen = grouped_split([item["label"] for item in items], patients, share, seed, needed)
    except ValueError as error:
        raise ValueError(f"{source.place} cannot be split, no {name} can be taken out: {error}") from None
    logger.info("%d of %d images of %s were taken out for %s.", chosen.sum(), len(items), source.place, name)
    parts: dict[bool, list[Item]] = {False: [], True: []}
    for item, held_out in zip(items, chosen, strict=True):
        parts[bool(held_out)].append(item)
    return parts[False], parts[True]


def _say_whose(items: list[Item], source: Source) -> None:
    labels: dict[str, set[int]] = defaultdict(set)
    for item in items:
        labels[_patient(item)].add(item["label"])
    if not any("patient" in item for item in items):
        logger.info("No patients are known for %s: each image counts as one.", source.place)
    elif several := sum(len(own) > 1 for own in labels.values()):
        logger.info("%d of %d patients of %s have images of several classes.", several, len(labels), source.place)


def _check_every_class(splits: Splits, source: Source, used: Sequence[str], every: bool) -> None:
    for name in used:
        missing = set(range(len(source.classes))) - {item["label"] for item in splits[name]}
        if not splits[name]:
            raise ValueError(f"Split {name} of {source.place} has no image, expected at least one.")
        if missing and every:
            absent = source.classes[min(missing)]
            raise ValueError(f"Split {name} of {source.place} has no image of class {absent}, expected at least one.")


def _patient(item: Item) -> str:
    return item["patient"] if "patient" in item else item["sample_id"]
