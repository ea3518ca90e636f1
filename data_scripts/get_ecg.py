"""Get ECG beats of the MIT-BIH Arrhythmia Database ready for the bundle ``ecg_classification_ima``.

The recordings are published on PhysioNet (doi 10.13026/C2F305, ODC-By 1.0); reading them needs ``pip install wfdb``, or
this package's extra "ecg". The beats are written in the layout of the public heartbeat CSV files (Kachuee et al. 2018).

Split by patient: train is DS1 and test is DS2 of de Chazal, O'Dwyer and Reilly 2004 (IEEE Trans Biomed Eng 51(7), doi
10.1109/TBME.2004.827359), 22 records each, without the four records with pacemakers. Record 201 of DS1 and 202 of DS2
are of the same man (PhysioNet's directory of the database): 201 is left out unless --keep_201 is given.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from archives import check_digest, download
from ecg_beats import LABELS, RATE, cut_beats, resample
from scripting import check_one_source, check_options, new_folder, refusals, run
from tqdm import tqdm

from monai_ima.data import heartbeat_datalist, summarize_beats
from monai_ima.data.ecg_heartbeat import RECORDS_FILE, TEST_FILE, TRAIN_FILE

PUBLIC_URL = "https://physionet.org/files/mitdb/1.0.0/"

DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)

PACED = {"train": 107, "test": 217}
"""Records with pacemakers that have lead II; 102 and 104 do not."""

LEAD = "MLII"

SUFFIXES = ("hea", "dat", "atr")

CHECKSUMS = "SHA256SUMS.txt"

TEST_RECORDS_FILE = "mitbih_test_records.csv"


def get(
    out: str = "",
    from_csv: str | None = None,
    from_dir: str | None = None,
    url: str | None = None,
    records: Any = None,
    paced: bool = False,
    keep_201: bool = False,
    **unknown: object,
) -> None:
    """Download the recordings, cut them into beats, check and count; at most one of from_csv, from_dir and url.

    Args:
        out: folder to write to, empty or missing; required.
        from_csv: a folder that holds mitbih_train.csv and mitbih_test.csv already; they are checked and copied.
        from_dir: a folder that holds the recordings; compared with its SHA256SUMS.txt where there is one.
        url: address of the folder of recordings, by default PhysioNet's; they are kept beside ``out``, and a broken
            download is taken up where it stopped.
        records: these records only, such as 101,106,100; default all of the split.
        paced: take the paced records too, 107 to train and 217 to test: without them class Q has a handful of beats.
        keep_201: train on record 201 too, whose patient is in test.
        unknown: refused.
    """
    with refusals():
        check_options(unknown, "out, from_csv, from_dir, url, records, paced or keep_201", out)
        check_one_source(from_csv=from_csv, from_dir=from_dir, url=url)
        if from_csv is not None and (records is not None or paced or keep_201):
            raise ValueError("Got --from_csv and a choice of records, expected that with recordings only.")
        split = choose(records, paced, keep_201)
        with new_folder(out) as (target, ready):
            ready.mkdir()
            if from_csv is not None:
                copy_beats(Path(str(from_csv)), ready)
            else:
                names = [name for part in split.values() for name in part]
                if from_dir is not None:
                    recordings = Path(str(from_dir))
                    check_recordings(recordings, names)
                else:
                    recordings = target.with_name(f"{target.name}-recordings")
                    fetch_recordings(url or PUBLIC_URL, names, recordings)
                write_split(recordings, split, ready)
            table = summarize_beats(heartbeat_datalist(ready))
    print(table)
    print("val is taken out of train; " + ("" if (target / RECORDS_FILE).exists() else "not ") + "by patient.")
    print(f"Ready: {target}")


def choose(records: Any, paced: bool, keep_201: bool) -> dict[str, list[str]]:
    """Names of the records of train and test.

    Args:
        records: one name or several, in a list or separated by commas; None means all of the split.
        paced: with the paced records.
        keep_201: with record 201.

    Raises:
        ValueError: when a record is not in the split, or none is left for train or test.
    """
    split = {"train": [str(name) for name in DS1 if keep_201 or name != 201], "test": [str(name) for name in DS2]}
    if paced:
        for part, number in PACED.items():
            split[part].append(str(number))
    if records is None:
        return split
    chosen = [str(name) for name in (records if isinstance(records, (list, tuple)) else str(records).split(","))]
    known = {*split["train"], *split["test"]}
    for name in chosen:
        if name not in known:
            raise ValueError(f"Got record {name}, expected records of the split: {', '.join(sorted(known))}.")
    split = {part: [name for name in names if name in chosen] for part, names in split.items()}
    for part, names in split.items():
        if not names:
            raise ValueError(f"Got --records {','.join(chosen)}, expected at least one of {part} among them.")
    return split


def copy_beats(source: Path, ready: Path) -> None:
    """Copy the CSV files of a folder, and those of the record names where they are.

    Raises:
        FileNotFoundError: when the folder or one of the two files of beats is missing.
    """
    for name in (TRAIN_FILE, TEST_FILE, RECORDS_FILE, TEST_RECORDS_FILE):
        file = source / name
        if file.is_file():
            shutil.copyfile(file, ready / name)
        elif name in (TRAIN_FILE, TEST_FILE):
            raise FileNotFoundError(f"File {file} does not exist, expected {TRAIN_FILE} and {TEST_FILE} there.")


def check_recordings(folder: Path, names: list[str]) -> None:
    """Compare recordings with the checksums beside them, where there are any.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a checksum differs or is missing in the list.
    """
    listed = folder / CHECKSUMS
    sums = read_checksums(listed) if listed.is_file() else {}
    for name in _files(names):
        if sums and name not in sums:
            raise ValueError(f"File {listed} has no checksum of {name}, expected one.")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"File {folder / name} does not exist, expected the recordings' files there.")
        check_digest(folder / name, sums.get(name), "sha256")


def fetch_recordings(url: str, names: list[str], folder: Path) -> None:
    """Download what a folder lacks of the recordings; those there with the published checksum are kept.

    Args:
        url: address of the published folder, with its RECORDS and SHA256SUMS.txt.
        names: of the records.
        folder: to download to.

    Raises:
        OSError: when the server does not answer, or sends less than it announced.
        ValueError: when a record is not in the list of records, or a file is not as its checksum says.
    """
    folder.mkdir(exist_ok=True)
    address = url.rstrip("/") + "/"
    for name in ("RECORDS", CHECKSUMS):
        download(address + name, folder).replace(folder / name)
    published = (folder / "RECORDS").read_text(encoding="utf-8").split()
    for name in names:
        if name not in published:
            raise ValueError(f"File {address}RECORDS has no record {name}, expected the records of the split.")
    sums = read_checksums(folder / CHECKSUMS)
    for name in tqdm(_files(names), desc="recordings"):
        if name not in sums:
            raise ValueError(f"File {address}{CHECKSUMS} has no checksum of {name}, expected one.")
        if not _is_whole(folder / name, sums[name]):
            download(address + name, folder).replace(folder / name)
            check_digest(folder / name, sums[name], "sha256")


def read_checksums(file: Path) -> dict[str, str]:
    """Checksums by file name, from lines ``checksum name``.

    Raises:
        ValueError: when a line is not like that.
    """
    sums = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split(maxsplit=1)
        if len(parts) != 2:
            raise ValueError(f"Row {number} of {file} holds {line[:80]!r}, expected a checksum and a file name.")
        sums[parts[1].strip().removeprefix("*")] = parts[0].lower()
    return sums


def write_split(recordings: Path, split: dict[str, list[str]], ready: Path) -> None:
    """Write the beats of train and test, and beside them record, sample (at 360 Hz) and annotation of each."""
    for part, file, records_file in (("train", TRAIN_FILE, RECORDS_FILE), ("test", TEST_FILE, TEST_RECORDS_FILE)):
        with (
            open(ready / file, "w", encoding="utf-8") as rows,
            open(ready / records_file, "w", newline="", encoding="utf-8") as origins,
        ):
            writer = csv.writer(origins)
            writer.writerow(["record", "sample", "annotation"])
            for name in tqdm(split[part], desc=f"beats of {part}"):
                beats, samples, symbols = record_beats(recordings / name)
                labels = [LABELS[symbol] for symbol in symbols]
                np.savetxt(rows, np.column_stack([beats, labels]), fmt="%.6g", delimiter=",")
                writer.writerows(zip([name] * len(symbols), samples.tolist(), symbols, strict=True))


def record_beats(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The beats of a record, in lead II.

    Args:
        path: of its files, without their endings.

    Returns:
        the beats, float32 ``[n, 187]`` in [0, 1], and for each the sample of the record that is annotated, and the
        annotation.

    Raises:
        ValueError: when the record cannot be read or has no lead II.
        ImportError: when wfdb is not installed.
    """
    try:
        import wfdb
    except ImportError as error:
        raise ImportError("Package wfdb is missing, expected it for reading recordings: pip install wfdb.") from error
    try:
        record = wfdb.rdrecord(str(path))
        annotation = wfdb.rdann(str(path), "atr")
    except Exception as error:
        raise ValueError(f"Record {path} cannot be read ({error}), expected files in PhysioNet's formats.") from error
    if LEAD not in record.sig_name:
        raise ValueError(f"Record {path} has the leads {', '.join(record.sig_name)}, expected {LEAD} among them.")
    is_beat = np.array([symbol in LABELS for symbol in annotation.symbol], dtype=bool)
    samples = annotation.sample[is_beat]
    symbols = [symbol for symbol in annotation.symbol if symbol in LABELS]
    signal = resample(record.p_signal[:, record.sig_name.index(LEAD)], record.fs)
    beats, chosen = cut_beats(signal, np.round(samples * (RATE / record.fs)).astype(int))
    return beats, samples[chosen], [symbols[k] for k in chosen]


def _files(names: list[str]) -> list[str]:
    return [f"{name}.{suffix}" for name in names for suffix in SUFFIXES]


def _is_whole(file: Path, digest: str) -> bool:
    try:
        check_digest(file, digest, "sha256")
    except (ValueError, FileNotFoundError):
        return False
    return True


if __name__ == "__main__":
    run(get)
