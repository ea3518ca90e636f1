from __future__ import annotations

from collections.abc import Mapping

from .kermany import SPLITS

__all__ = ["phantom_counts"]


def phantom_counts(name: str, count: Mapping[str, int] | int, least: int = 1) -> dict[str, int]:
    """How much of a synthetic data set goes into each split.

    Args:
        name: of the argument, for errors.
        count: in the training split (a fifth of it validates, half of it tests), or one for each split.
        least: smallest number allowed.

    Raises:
        ValueError: when a number is missing or too small.
    """
    if isinstance(count, int):
        counts = {"train": count, "val": max(least, count // 5), "test": max(least, count // 2)}
    else:
        counts = dict(count) if isinstance(count, Mapping) else {}
    if set(counts) != set(SPLITS) or not all(isinstance(n, int) and n >= least for n in counts.values()):
        raise ValueError(f"Got {name} {count}, expected an integer >= {least}, or one for each of {', '.join(SPLITS)}.")
    return counts
