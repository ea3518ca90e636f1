"""Records of finished trainings: small, committed, and enough to write a study's page anywhere.

A record is a JSON object: ``note`` (what was trained and attacked, :meth:`Study.note`), ``samples`` (of the test:
count, first id and a SHA-256 over ids, labels and images in their order), ``broken_at`` (for each attack a string with
a character for each sample: ``0`` misclassified without an attack, ``k`` broken at the k-th level, ``-`` at none),
``ddn`` (L2: for each sample the distance at which DDN breaks it, rounded up to 4 digits; null where it does not),
``margins`` (mean, median and share at ε_n, for methods that have them), and where and how long it was trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare_study import BLACK_BOX_SAMPLES, Study
from studies import read_json, write_whole

ROBUST = "-"
DIGITS = 4


class RecordError(ValueError):
    """A record that cannot be used; the sentence names the file."""


def encode(broken_at: Sequence[float | None], levels: Sequence[float]) -> str:
    """A character for each sample.

    Args:
        broken_at: for each sample the first level at which it is misclassified, 0 without an attack, None at none.
        levels: rising, at most 9.
    """
    symbols = {level: str(index) for index, level in enumerate([0.0, *levels])}
    return "".join(ROBUST if level is None else symbols[level] for level in broken_at)


def decode(text: str, levels: Sequence[float]) -> np.ndarray:
    """Levels at which samples are broken, infinite where they are robust: float ``[N]``.

    Raises:
        ValueError: if a character is none that :func:`encode` writes.
    """
    values = {str(index): level for index, level in enumerate([0.0, *levels])} | {ROBUST: math.inf}
    unknown = set(text) - set(values)
    if unknown:
        raise ValueError(f"Got the character {min(unknown)!r}, expected one of {''.join(values)}.")
    return np.array([values[symbol] for symbol in text])


def rounded_up(distance: float | None) -> float | None:
    """A distance with 4 digits, never below what it was: a sample that a level does not break stays so."""
    return None if distance is None else math.ceil(distance * 10**DIGITS) / 10**DIGITS


def broken_distances(record: Mapping[str, Any], attack: str) -> np.ndarray:
    """How large a perturbation is known to break each sample: float ``[N]``, infinite where none is.

    Args:
        record: of a training.
        attack: one of its attacks, or ``"ddn"``.
    """
    if attack == "ddn":
        return np.array([math.inf if distance is None else distance for distance in record["ddn"]])
    return decode(record["broken_at"][attack], record["note"]["levels"])


def sample_fingerprint(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What tells one list of test samples from another: their count, first id, and SHA-256 of ids, labels and images.

    Args:
        items: of a data list: ``sample_id``, ``label``, and ``image``, an array or a file.
    """
    digest = hashlib.sha256()
    for item in items:
        image = item["image"]
        content = Path(image).read_bytes() if isinstance(image, (str, Path)) else np.ascontiguousarray(image).tobytes()
        digest.update(f"{item['sample_id']}\0{item['label']}\0{len(content)}\0".encode())
        digest.update(content)
    return {"count": len(items), "first": str(items[0]["sample_id"]), "sha256": digest.hexdigest()}


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """Write a record as a whole or not at all, one line for each of its parts."""
    parts = []
    for key, value in record.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(part)}" for name, part in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "{\n" + ",\n".join(parts) + "\n}\n")


def read_records(study: Study) -> dict[str, dict[str, Any]]:
    """The records that are there, by method.

    Raises:
        RecordError: if one is damaged, was made with other settings, or is of other samples than the first one.
    """
    records: dict[str, dict[str, Any]] = {}
    for method in study.methods:
        file = study.record_file(method)
        if not file.is_file():
            continue
        record = _checked(file, study, method)
        if records:
            first = next(iter(records))
            check_samples(file, record["samples"], records[first]["samples"], str(study.record_file(first)))
        records[method] = record
    return records


def kept_records(folder: Path, notes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records of a study that are there, by name.

    Args:
        folder: with a file ``NAME.json`` for each.
        notes: what the record of each name has to be of.

    Raises:
        RecordError: if one was made with other settings.
    """
    files = {name: folder / f"{name}.json" for name in notes}
    found = {name: read_json(file) for name, file in files.items() if file.is_file()}
    for name, record in found.items():
        check_note(files[name], record["note"], notes[name])
    return found


def recorded_as_synthetic(file: Path) -> bool:
    """Whether a record is of a SYNTHETIC phantom.

    Raises:
        RecordError: if it is damaged.
    """
    return bool(_parsed(file)["note"].get("synthetic"))


def check_note(file: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse what was made with other settings.

    Raises:
        RecordError: naming the file and every setting that differs.
    """
    differing = _differences(found, json.loads(json.dumps(expected)))
    if differing:
        raise RecordError(f"{file} was made with other settings: {'; '.join(differing)}.")


def check_samples(file: Path, found: Mapping[str, Any], expected: Mapping[str, Any], source: str) -> None:
    """Refuse what was measured on other test samples.

    Raises:
        RecordError: naming the file.
    """
    if found != expected:
        there, here = (f"{value['count']} samples, first {value['first']!r}" for value in (found, expected))
        raise RecordError(
            f"{file} was measured on other test samples ({there}, SHA-256 {found['sha256'][:8]}) than {source} "
            f"({here}, SHA-256 {expected['sha256'][:8]})."
        )


def _parsed(file: Path) -> dict[str, Any]:
    try:
        record = read_json(file)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("note"), dict):
        raise RecordError(f"{file} is damaged, expected a record that compare.py wrote.")
    return record


def _checked(file: Path, study: Study, method: str) -> dict[str, Any]:
    record = _parsed(file)
    check_note(file, record["note"], study.note(method))
    try:
        count = record["samples"]["count"]
        for attack in record["note"]["attacks"]:
            expected = min(count, BLACK_BOX_SAMPLES) if attack == study.black_box else count
            found = len(broken_distances(record, attack))
            if found != expected:
                raise ValueError(f"{found} results of {attack} for {expected} samples")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{file} is damaged, expected results of every attack: {error!r}.") from None
    return record


def _differences(found: Any, expected: Any, path: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        names = dict.fromkeys([*expected, *found])
        inner = [
            _differences(found.get(name), expected.get(name), f"{path}.{name}" if path else name) for name in names
        ]
        return [line for lines in inner for line in lines]
    return [] if found == expected else [f"{path} is {json.dumps(found)} there and {json.dumps(expected)} here"]
