"""Which scans train, validate and test: by a list, or at random; no patient in two splits."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from monai_ima.utils.checks import check_count
from monai_ima.utils.text import read_text

from .folders import ALL, SPLITS

__all__ = ["SplitLists", "groups_split", "listed_split", "names_any", "permuted_split", "read_split", "split_scans"]

SplitLists = str | os.PathLike | Mapping[str, Sequence[str]]
"""Ids by split, or a JSON file of that."""

RandomSplit = Callable[[Mapping[str, str], Sequence[float], int, str | os.PathLike], dict[str, list[str]]]
"""From the patient of every id, shares, seed and the data's folder to ids by split."""

MAX_SEED = 2**32 - 1
"""The highest seed of scikit-learn."""

logger = logging.getLogger(__name__)


def split_scans(
    patients: Mapping[str, str],
    split: SplitLists | None,
    fractions: Sequence[float],
    seed: int,
    root: str | os.PathLike,
    evaluated: str | None = None,
    random_split: RandomSplit | None = None,
) -> dict[str, list[str]]:
    """The ids of each split.

    Args:
        patients: of every id.
        split: lists of ids; None: at random. Lists that name none of the ids are ignored, which the log says.
        fractions: shares of the patients in train, val and test.
        seed: of the random split.
        root: the data's folder, for errors.
        evaluated: the only split that will be used; "all": every id, not split; None: every split will be.
        random_split: :func:`groups_split`, or None for :func:`permuted_split`.

    Raises:
        FileNotFoundError: if the lists' file is missing.
        ValueError: if the lists are not as expected, a patient is in two of them, or there are too few patients.

    Example:
        >>> split_scans({"a": "p", "b": "p", "c": "q", "d": "r"}, None, (0.4, 0.3, 0.3), 0, "data")
        {'train': ['d'], 'val': ['a', 'b'], 'test': ['c']}
    """
    if evaluated == ALL:
        return {ALL: list(patients)}
    found = None if split is None else listed_split(patients, split, root, evaluated)
    return (random_split or permuted_split)(patients, fractions, seed, root) if found is None else found


def listed_split(
    patients: Mapping[str, str], split: SplitLists, root: str | os.PathLike, evaluated: str | None = None
) -> dict[str, list[str]] | None:
    """The ids of each split, by lists; those in no list train. None where the lists name none of the ids.

    The log says so then. Arguments and errors are those of :func:`split_scans`.
    """
    lists, source = _given(split, evaluated)
    if _names_any(lists, patients):
        return _listed_split(patients, lists, source, root, evaluated)
    logger.warning("%s names no scan of %s: it is ignored, the scans are split at random.", source, root)
    return None


def names_any(split: SplitLists, ids: Collection[str], evaluated: str | None = None) -> bool:
    """Whether lists, one for each split, name any of the ids; errors are those of :func:`split_scans`.

    Example:
        >>> names_any({"train": ["a"], "val": ["b"], "test": ["c"]}, {"c", "d"})
        True
    """
    return _names_any(_given(split, evaluated)[0], ids)


def _names_any(lists: Mapping[str, Sequence[str]], ids: Collection[str]) -> bool:
    return any(sample_id in ids for own in lists.values() for sample_id in own)


def _given(split: SplitLists, evaluated: str | None) -> tuple[dict[str, Sequence[str]], str]:
    """The lists, and what they are called in errors."""
    source = "The split" if isinstance(split, Mapping) else f"Split file {split}"
    return _checked(split if isinstance(split, Mapping) else _read_split(split), source, evaluated), source


def permuted_split(
    patients: Mapping[str, str], fractions: Sequence[float], seed: int, root: str | os.PathLike
) -> dict[str, list[str]]:
    """A random split by numpy's permutation of the patients; see :func:`split_scans`."""
    people = list(dict.fromkeys(patients.values()))
    train, val, _ = _counts(patients, fractions, root)
    order = [str(patient) for patient in np.random.default_rng(seed).permutation(people)]
    place = {patient: "train" if k < train else "val" if k < train + val else "test" for k, patient in enumerate(order)}
    return {name: [sample_id for sample_id, own in patients.items() if place[own] == name] for name in SPLITS}


def groups_split(
    patients: Mapping[str, str], fractions: Sequence[float], seed: int, root: str | os.PathLike
) -> dict[str, list[str]]:
    """A random split by scikit-learn's ``GroupShuffleSplit``, first of the test's patients; see :func:`split_scans`.

    Raises:
        ValueError: if the seed is no integer from 0 to 2^32 - 1, and as :func:`split_scans` does.

    Example:
        >>> groups_split({"a": "p", "b": "p", "c": "q", "d": "r"}, (0.4, 0.3, 0.3), 0, "data")
        {'train': ['a', 'b'], 'val': ['c'], 'test': ['d']}
    """
    seed = check_count("seed", seed, 0, MAX_SEED)
    _, val, test = _counts(patients, fractions, root)
    rest, tested = _drawn(list(patients), patients, test, seed)
    train, validated = _drawn(rest, patients, val, seed)
    return {"train": train, "val": validated, "test": tested}


def _drawn(ids: list[str], patients: Mapping[str, str], count: int, seed: int) -> tuple[list[str], list[str]]:
    """The ids that are left and those of so many patients."""
    split = GroupShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    left, drawn = next(split.split(ids, groups=[patients[sample_id] for sample_id in ids]))
    return [ids[k] for k in left], [ids[k] for k in drawn]


def _counts(patients: Mapping[str, str], fractions: Sequence[float], root: str | os.PathLike) -> tuple[int, int, int]:
    """How many patients train, validate and test."""
    number = len(set(patients.values()))
    if number < 3:
        whom = "labelled scan(s)" if number == len(patients) else f"patient(s) in {len(patients)} labelled scans"
        raise ValueError(
            f"Folder {root} holds {number} {whom}, expected at least 3 to split (an evaluation can take all)."
        )
    test = min(max(1, round(fractions[2] * number)), number - 2)
    val = min(max(1, round(fractions[1] * number)), number - 1 - test)
    return number - val - test, val, test


def _checked(lists: object, source: str, evaluated: str | None) -> dict[str, Sequence[str]]:
    """One list a split; for an evaluation those of the other splits may be missing."""
    needed = set(SPLITS) if evaluated is None else {evaluated}
    if not isinstance(lists, Mapping) or not needed <= set(lists) <= set(SPLITS):
        raise ValueError(f"{source} has other entries than expected, a list of scans for each of {', '.join(SPLITS)}.")
    place: dict[str, str] = {}
    for name in SPLITS:
        own = lists.get(name, [])
        if isinstance(own, str) or not isinstance(own, Sequence):
            raise ValueError(f"{source} has {own!r} for {name}, expected a list of scans.")
        for sample_id in own:
            if not isinstance(sample_id, str):
                raise ValueError(f"{source} names {sample_id!r} in {name}, expected the name of a scan.")
            if sample_id in place:
                parts = f"{place[sample_id]} and in {name}"
                raise ValueError(f"{source} names {sample_id} in {parts}, expected each scan once.")
            place[sample_id] = name
    return {name: lists.get(name, []) for name in SPLITS}


def _listed_split(
    patients: Mapping[str, str],
    lists: Mapping[str, Sequence[str]],
    source: str,
    root: str | os.PathLike,
    evaluated: str | None,
) -> dict[str, list[str]]:
    absent = [(sample_id, name) for name in SPLITS for sample_id in lists[name] if sample_id not in patients]
    if absent and evaluated is None:
        sample_id, name = absent[0]
        raise ValueError(f"{source} names {sample_id} in {name}, expected a labelled scan of {root}.")
    if absent:
        logger.warning("%d of the scans that %s names are not in %s.", len(absent), source, root)
    found = {name: [sample_id for sample_id in lists[name] if sample_id in patients] for name in SPLITS}
    placed = {sample_id for own in found.values() for sample_id in own}
    rest = [sample_id for sample_id in patients if sample_id not in placed]
    if rest:
        logger.info("%d of %d scans in %s are in no list of the split and go to train.", len(rest), len(patients), root)
    found["train"] += rest
    for name in SPLITS if evaluated is None else [evaluated]:
        if not found[name]:
            raise ValueError(f"{source} leaves no scan for {name}, expected at least one.")
    _check_patients(patients, found, source)
    return found


def _check_patients(patients: Mapping[str, str], ids: Mapping[str, Sequence[str]], source: str) -> None:
    place: dict[str, str] = {}
    for name, own in ids.items():
        for sample_id in own:
            first = place.setdefault(patients[sample_id], name)
            if first != name:
                parts = f"{first} and in {name}"
                raise ValueError(f"{source} has patient {patients[sample_id]} in {parts}, expected each in one split.")


def read_split(file: str | os.PathLike) -> dict[str, Sequence[str]]:
    """The ids of each split in a file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is no JSON file of one list for each split.
    """
    return _given(file, None)[0]


def _read_split(file: str | os.PathLike) -> object:
    if not Path(file).is_file():
        raise FileNotFoundError(f"Split file {file} does not exist, expected a JSON file.")
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise ValueError(f"Split file {file} cannot be read ({error}), expected JSON.") from error
