"""Reader for ECG beats in the layout of the public "heartbeat" CSV files: a beat a row, 187 samples and its class.

Each row holds 187 samples at 125 Hz, scaled to [0, 1] and padded with zeros at the end, and the class, 0 to 4; there is
no header. The training file may have a companion that names the record (patient) of each of its rows.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from monai_ima.utils.text import read_text

from .folders import Datalist, Item, as_table, dataset_folder

__all__ = [
    "BEAT_CLASSES",
    "RECORDS_FILE",
    "SAMPLES",
    "TEST_FILE",
    "TRAIN_FILE",
    "balanced",
    "beat_datalist",
    "beat_item",
    "heartbeat_datalist",
    "summarize_beats",
]

BEAT_CLASSES = ("N", "S", "V", "F", "Q")
"""Normal, supraventricular ectopic, ventricular ectopic, fusion of both, paced or unknown: the classes of the AAMI."""

SAMPLES = 187

TRAIN_FILE, TEST_FILE, RECORDS_FILE = "mitbih_train.csv", "mitbih_test.csv", "mitbih_train_records.csv"

logger = logging.getLogger(__name__)


def heartbeat_datalist(dataset_dir: str | os.PathLike, val_fraction: float = 0.2, seed: int = 0) -> Datalist:
    """The beats of a folder that holds ``mitbih_train.csv`` and ``mitbih_test.csv``.

    The validation beats are taken out of the training file. Where ``mitbih_train_records.csv`` (a header, a column
    ``record``, a row for each beat) lies beside it, they are whole records, drawn such that every class keeps at least
    half of its beats in train; they may lack a rare class then. Without that file they are single beats, the same
    share of every class (at least one, unless a class has one beat only), and share patients with the training beats.

    Args:
        dataset_dir: the folder.
        val_fraction: share of the training file's beats, in (0, 1); the IMA paper (section 3.1) takes 20 %.
        seed: of the draw, >= 0.

    Returns:
        for each of train, val and test a list of
        ``{"image": float32 [1, 187] in [0, 1], "label": class index, "sample_id": "train-00017"}``, in the order of the
        file; the number in the id is that of the file's row, counted from 1.

    Raises:
        FileNotFoundError: when the folder or one of the two files is missing.
        ValueError: when a row is not as expected (file and row are named), a file is empty, the training file lacks a
            class or has too few records, or ``val_fraction`` is not in (0, 1).
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"Got val_fraction {val_fraction}, expected a number between 0 and 1.")
    root = dataset_folder(dataset_dir, f"{TRAIN_FILE} and {TEST_FILE}")
    train, test = (_read_items(root / name, split) for name, split in ((TRAIN_FILE, "train"), (TEST_FILE, "test")))
    labels = np.array([item["label"] for item in train])
    for label, name in enumerate(BEAT_CLASSES):
        if label not in labels:
            raise ValueError(f"File {root / TRAIN_FILE} has no beat of class {label} {name}, expected at least one.")
    rng = np.random.default_rng(seed)
    if (root / RECORDS_FILE).exists():
        is_val = _val_records(_read_records(root / RECORDS_FILE, len(train)), labels, val_fraction, rng)
        if not is_val.any():
            raise ValueError(
                f"File {root / RECORDS_FILE} has too few records to take validation records out, expected every class "
                "in several of them."
            )
    else:
        is_val = _val_beats(labels, val_fraction, rng)
    datalist = {
        "train": [item for item, val in zip(train, is_val, strict=True) if not val],
        "val": [item for item, val in zip(train, is_val, strict=True) if val],
        "test": test,
    }
    logger.info("Beats in %s:\n%s", root, summarize_beats(datalist))
    return datalist


def beat_datalist(path: str | os.PathLike) -> list[Item]:
    """All beats of one CSV file, with or without classes, for inference.

    Args:
        path: the file, 187 or 188 columns; a folder stands for the ``mitbih_test.csv`` in it.

    Returns:
        a list of ``{"image": float32 [1, 187] in [0, 1], "sample_id": "FILE-00017"}``, FILE being the file's name
        without ending and the number that of the row, counted from 1.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when a row is not as expected (file and row are named), or the file is empty.
    """
    file = Path(path)
    if file.is_dir():
        file = file / TEST_FILE
    return _read_items(file, file.stem, with_class=False)


def beat_item(beat: np.ndarray, split: str, number: int, label: int | None = None) -> Item:
    """One entry of a list of beats: a beat ``[187]`` as an image ``[1, 187]``, its id and, unless None, its label."""
    item: Item = {"image": beat[None], "sample_id": f"{split}-{number:05d}"}
    return item if label is None else {**item, "label": label}


def balanced(items: Sequence[Item], seed: int = 0) -> list[Item]:
    """Up-sample to classes of equal size: a class's beats are repeated until it is as large as the largest one.

    Every beat of a class occurs k or k + 1 times; which ones occur once more is drawn. The list depends on the items
    and the seed alone, so it is the same in a resumed run and in every process. Ids are repeated with their beats.

    Args:
        items: with ``"label"``.
        seed: of the draw, >= 0.

    Returns:
        the same items, class by class.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([item["label"] for item in items], dtype=int)
    most = max(np.bincount(labels), default=0)
    chosen: list[Item] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        once_more = np.sort(rng.permutation(own)[: most % len(own)])
        chosen += [items[k] for k in (*np.tile(own, most // len(own)), *once_more)]
    return chosen


def summarize_beats(datalist: Datalist) -> str:
    """A table of the number of beats for each split and class, as :func:`heartbeat_datalist` returns them."""
    rows: list[Sequence[object]] = [("beats", *BEAT_CLASSES, "all")]
    for split, items in datalist.items():
        counts = np.bincount([item["label"] for item in items], minlength=len(BEAT_CLASSES))
        rows.append((split, *counts, len(items)))
    return as_table(rows)


def _read_items(file: Path, name: str, with_class: bool = True) -> list[Item]:
    if not file.is_file():
        raise FileNotFoundError(f"File {file} does not exist, expected beats of {SAMPLES} samples, one a row.")
    columns, items = (SAMPLES + 1,) if with_class else (SAMPLES, SAMPLES + 1), []
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(tqdm(lines, desc=f"reading {file.name}", unit=" beats", leave=False), 1):
            if line.strip():
                values = _read_row(line, columns, f"Row {number} of {file}")
                columns = (len(values),)  # all rows are as wide as the first one
                items.append(beat_item(values[:SAMPLES], name, number, int(values[SAMPLES]) if with_class else None))
    if not items:
        raise ValueError(f"File {file} is empty, expected beats of {SAMPLES} samples, one a row.")
    return items


def _read_row(line: str, columns: Collection[int], where: str) -> np.ndarray:
    """The checked values of a row, float32."""
    cells = line.split(",")
    if len(cells) not in columns:
        expected = " or ".join(map(str, columns))
        raise ValueError(f"{where} has {len(cells)} values, expected {expected} in every row: is the file cut short?")
    try:
        values = np.array([float(cell) for cell in cells], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{where} holds text ({error}), expected numbers only and no header.") from None
    wrong = np.flatnonzero(~((values[:SAMPLES] >= 0) & (values[:SAMPLES] <= 1)))
    if wrong.size:
        first = f"{cells[wrong[0]].strip()} in column {wrong[0] + 1}"
        raise ValueError(f"{where} holds {first}, expected samples in [0, 1].")
    if len(values) > SAMPLES and values[SAMPLES] not in range(len(BEAT_CLASSES)):
        known = ", ".join(f"{label} {name}" for label, name in enumerate(BEAT_CLASSES))
        raise ValueError(f"{where} has class {cells[SAMPLES].strip()}, expected one of {known}.")
    return values


def _read_records(file: Path, beats: int) -> np.ndarray:
    rows = csv.DictReader(io.StringIO(read_text(file)))
    if "record" not in (rows.fieldnames or ()):
        raise ValueError(f"File {file} has no column 'record', expected it in the header.")
    records = np.array([row["record"] for row in rows])
    if len(records) != beats:
        raise ValueError(f"File {file} names {len(records)} records, expected one for each of {beats} beats.")
    return records


def _val_beats(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    is_val = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        is_val[own[: min(max(round(fraction * len(own)), 1), len(own) - 1)]] = True
    return is_val


def _val_records(records: np.ndarray, labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    is_val = np.zeros(len(labels), dtype=bool)
    half = np.bincount(labels, minlength=len(BEAT_CLASSES)) / 2
    for record in rng.permutation(np.unique(records)):
        more = is_val | (records == record)
        kept = np.bincount(labels[~more], minlength=len(BEAT_CLASSES))
        if is_val.sum() < fraction * len(labels) and (kept >= half).all():
            is_val = more
    return is_val
