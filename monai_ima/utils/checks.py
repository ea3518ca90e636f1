"""Settings, checked where they come in; those that are numbers also for being numbers at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

__all__ = [
    "TASKS",
    "check_bool",
    "check_bounds",
    "check_channels",
    "check_choice",
    "check_count",
    "check_fraction",
    "check_ignore_index",
    "check_not_negative",
    "check_output",
    "check_positive",
    "check_seed",
    "check_task",
    "is_number",
]

TASKS = ("classification", "multi-label", "segmentation")
"""What a network may be made for."""


def check_bounds(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    """``bounds`` as a pair of floats, or None.

    Raises:
        ValueError: when they are not two numbers in rising order.
    """
    if bounds is None:
        return None
    pair = tuple(bounds) if isinstance(bounds, Iterable) else ()
    if len(pair) != 2 or not all(map(is_number, pair)) or not pair[0] < pair[1]:
        raise ValueError(f"Got bounds {bounds!r}, expected two numbers (lo, hi) with lo < hi, or None.")
    return float(pair[0]), float(pair[1])


def check_channels(channels: Sequence[int] | int | None) -> tuple[int, ...] | None:
    """``channels`` of an image in rising order; a single number is one channel, None means all.

    Raises:
        ValueError: when there are none, or they are not different integers >= 0.
    """
    if channels is None:
        return None
    given: tuple[Any, ...] = tuple(channels) if isinstance(channels, Iterable) else (channels,)
    integers = all(is_number(channel) and 0 <= channel < math.inf and int(channel) == channel for channel in given)
    if not given or not integers or len(set(given)) < len(given):
        raise ValueError(f"Got channels {channels!r}, expected different integers >= 0, at least one, or None for all.")
    return tuple(sorted(int(channel) for channel in given))


def check_count(name: str, value: int, least: int) -> int:
    """``value`` as an int.

    Raises:
        ValueError: when it is not an integer of at least ``least``.
    """
    if not is_number(value) or not least <= value < math.inf or int(value) != value:
        raise ValueError(f"Got {name} {value!r}, expected an integer >= {least}.")
    return int(value)


def check_positive(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a finite number > 0.
    """
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"Got {name} {value!r}, expected a finite number > 0.")
    return float(value)


def check_not_negative(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a finite number >= 0.
    """
    if not is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"Got {name} {value!r}, expected a finite number >= 0.")
    return float(value)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """``value``, when it is one of the names allowed.

    Args:
        name: of the setting.
        value: to check.
        choices: the names allowed.

    Raises:
        ValueError: when it is another one.
    """
    if value not in choices:
        raise ValueError(f"Unknown {name} {value!r}, expected {' or '.join(map(repr, choices))}.")
    return value


def check_bool(name: str, value: bool) -> bool:
    """``value``, when it is True or False.

    Args:
        name: of the setting.
        value: to check.

    Raises:
        ValueError: when it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"Got {name} {value!r}, expected True or False.")
    return value


def check_output(output: int | str | None) -> int | str | None:
    """``output``, when it can name one of a network's outputs.

    Args:
        output: an index, a key, or None.

    Raises:
        ValueError: when it is none of these.
    """
    if isinstance(output, bool) or not isinstance(output, int | str | None):
        raise ValueError(
            f"Got output {output!r}, expected the index or the key of one of the network's outputs, or None for the "
            "first."
        )
    return output


def check_task(task: str | None) -> str | None:
    """``task``, when it is one of :data:`TASKS` or None.

    Raises:
        ValueError: when it is neither.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"Unknown task {task!r}, expected one of {', '.join(TASKS)}.")
    return task


def check_seed(seed: int) -> int:
    """``seed``, when it is an integer.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"Got seed {seed!r}, expected an integer.")
    return seed


def check_ignore_index(ignore_index: int | None) -> int | None:
    """``ignore_index`` as an int, or None.

    Raises:
        ValueError: when it is neither an integer nor None.
    """
    if ignore_index is None:
        return None
    if not is_number(ignore_index) or not math.isfinite(ignore_index) or ignore_index != int(ignore_index):
        raise ValueError(f"Got ignore_index {ignore_index!r}, expected an integer (a label's value) or None.")
    return int(ignore_index)


def check_fraction(name: str, value: float, ends: str = "[]") -> float:
    """``value`` as a float.

    Args:
        name: of the setting.
        value: between 0 and 1.
        ends: whether 0 and 1 themselves are allowed, as the brackets of an interval: ``"(]"`` is 0 < value <= 1.

    Raises:
        ValueError: when it is not in the interval.
    """
    above = is_number(value) and (value >= 0 if ends[0] == "[" else value > 0)
    if not above or not (value <= 1 if ends[1] == "]" else value < 1):
        raise ValueError(f"Got {name} {value!r}, expected a number in {ends[0]}0, 1{ends[1]}.")
    return float(value)


def is_number(value: Any) -> bool:
    """A real number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
