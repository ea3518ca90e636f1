"""Random splits with every class in each part and no patient in two of them, by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from monai_ima.utils.checks import check_fraction, check_seed

__all__ = ["grouped_split"]

TRIES = 20
"""Random assignments of patients to folds that are tried before there are said to be too few."""


def grouped_split(
    labels: Sequence[int], patients: Sequence[str] | None, share: float, seed: int, needed: int = 1
) -> np.ndarray:
    """Which samples are held out: about ``share`` of each class, and of a patient all samples or none.

    With patients it is a fold of scikit-learn's ``StratifiedGroupKFold``, without them ``StratifiedShuffleSplit``.

    Args:
        labels: class index of each sample.
        patients: whom each sample is of; None: nobody has two samples.
        share: in (0, 1).
        seed: >= 0.
        needed: patients (samples, where there are none) of each class that must remain, >= 1.

    Returns:
        bool ``[N]``.

    Raises:
        ValueError: if ``share`` or ``seed`` is out of its range; if a class has too few patients, or samples.

    Example:
        >>> held_out = grouped_split([0, 0, 1, 1, 0, 1], ["p", "p", "q", "q", "r", "s"], 0.5, seed=0)
        >>> int(held_out[0]) == int(held_out[1]), int(held_out[2]) == int(held_out[3])
        (True, True)
    """
    check_fraction("share", share, "()")
    seed = check_seed(seed) % 2**32
    y = np.asarray(labels)
    groups = np.arange(len(y)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    fewest = min(len(np.unique(groups[y == label])) for label in np.unique(y))
    what = "sample(s)" if patients is None else "patient(s)"
    expected = f"expected at least {needed + 1} of each class"
    if fewest <= needed:
        raise ValueError(f"The smallest class has {fewest} {what}, {expected}.")
    candidates = _samples(y, share, seed) if patients is None else _folds(y, groups, share, seed, fewest)
    for held_out in candidates:
        if all(
            len(np.unique(groups[part & (y == label)])) >= least
            for label in np.unique(y)
            for part, least in ((held_out, 1), (~held_out, needed))
        ):
            return held_out
    raise ValueError(f"The {what} have too many classes each for a split with all classes in each part, {expected}.")


def _samples(y: np.ndarray, share: float, seed: int) -> Iterator[np.ndarray]:
    """The share of all samples; then a larger one, of which the smallest class has a sample."""
    sizes = np.unique(y, return_counts=True)[1]
    for count in (round(share * len(y)), round(len(y) / sizes.min())):
        count = min(max(count, len(sizes)), len(y) - len(sizes))
        for _, chosen in StratifiedShuffleSplit(TRIES, test_size=count, random_state=seed).split(y, y):
            yield _mask(chosen, len(y))


def _folds(y: np.ndarray, groups: np.ndarray, share: float, seed: int, fewest: int) -> Iterator[np.ndarray]:
    """Folds of several assignments; as many folds as the share asks for and the smallest class has patients for."""
    count = max(2, min(round(1 / share), fewest))
    for again in range(TRIES):
        folds = StratifiedGroupKFold(count, shuffle=True, random_state=(seed + again) % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of small classes, which the caller checks
            for _, chosen in folds.split(y, y, groups):
                yield _mask(chosen, len(y))


def _mask(chosen: np.ndarray, length: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[chosen] = True
    return mask
