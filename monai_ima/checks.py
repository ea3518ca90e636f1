"""Settings that are numbers, checked where they come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

__all__ = ["check_bounds", "check_count", "check_not_negative", "check_positive", "check_share"]


def check_bounds(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    """``bounds`` as a pair of floats, or None.

    Raises:
        ValueError: when they are not two numbers in rising order.
    """
    if bounds is None:
        return None
    pair = tuple(bounds) if isinstance(bounds, Sequence) and not isinstance(bounds, str) else ()
    if len(pair) != 2 or not all(map(_is_number, pair)) or not pair[0] < pair[1]:
        raise ValueError(f"Got bounds {bounds!r}, expected two numbers (lo, hi) with lo < hi, or None.")
    return float(pair[0]), float(pair[1])


def check_count(name: str, value: int, least: int) -> int:
    """``value`` as an int.

    Raises:
        ValueError: when it is not a whole number of at least ``least``.
    """
    if not _is_number(value) or not least <= value < math.inf or int(value) != value:
        raise ValueError(f"Got {name} {value!r}, expected a whole number >= {least}.")
    return int(value)


def check_positive(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a finite number > 0.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"Got {name} {value!r}, expected a finite number > 0.")
    return float(value)


def check_not_negative(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a finite number >= 0.
    """
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"Got {name} {value!r}, expected a finite number >= 0.")
    return float(value)


def check_share(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is outside [0, 1].
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"Got {name} {value!r}, expected a number in [0, 1].")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
