"""Settings, checked where they come in: numbers, names, paths, and objects of the right kind."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeVar

__all__ = [
    "MAX_SEED",
    "TASKS",
    "check_bool",
    "check_bounds",
    "check_callable",
    "check_channels",
    "check_choice",
    "check_count",
    "check_finite_number",
    "check_fraction",
    "check_ignore_index",
    "check_instance",
    "check_names",
    "check_not_negative",
    "check_output",
    "check_path",
    "check_positive",
    "check_seed",
    "check_task",
    "check_text",
    "is_number",
    "is_positive_number",
    "shortened",
    "shown",
]

TASKS = ("classification", "multi-label", "segmentation")
"""What a network may be made for."""

MAX_SEED = 2**63 - 1
MAX_COUNT = 2**31 - 1
TINY, HUGE = 2.0**-149, (2 - 2.0**-23) * 2.0**127
"""Smallest and largest number > 0 in float32, which images are."""

Kind = TypeVar("Kind")


def check_bounds(bounds: Sequence[float] | None, name: str = "bounds") -> tuple[float, float] | None:
    """``bounds`` as a pair of floats, or None.

    Raises:
        ValueError: when they are not two numbers in rising order.
    """
    if bounds is None:
        return None
    pair = tuple(bounds) if isinstance(bounds, Iterable) else ()
    if len(pair) != 2 or not all(map(is_number, pair)) or not pair[0] < pair[1]:
        raise ValueError(f"Got {name} {shown(bounds)}, expected two numbers (lo, hi) with lo < hi, or None.")
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
        raise ValueError(
            f"Got channels {shown(channels)}, expected different integers >= 0, at least one, or None for all."
        )
    return tuple(sorted(int(channel) for channel in given))


def check_count(name: str, value: int, least: int, most: int = MAX_COUNT) -> int:
    """``value`` as an int.

    Args:
        name: of the setting.
        value: an integer, or a float that is one.
        least: smallest value allowed.
        most: largest value allowed.

    Raises:
        ValueError: when it is not an integer in this range.
    """
    if not is_number(value) or not least <= value <= most or int(value) != value:
        limit = f" and <= {most}" if is_number(value) and value > most else ""
        raise ValueError(f"Got {name} {shown(value)}, expected an integer >= {least}{limit}.")
    return int(value)


def check_positive(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a number > 0 that is finite and > 0 in float32 too.
    """
    if not is_positive_number(value):
        raise ValueError(f"Got {name} {shown(value)}, expected a finite number > 0{_in_float32(value)}.")
    return float(value)


def check_not_negative(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a number >= 0 that is finite, and not rounded to 0, in float32 too.
    """
    if not is_positive_number(value) and not (is_number(value) and value == 0):
        raise ValueError(f"Got {name} {shown(value)}, expected a finite number >= 0{_in_float32(value)}.")
    return float(value)


def check_finite_number(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: when it is not a finite number.
    """
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"Got {name} {shown(value)}, expected a finite number.")
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
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"Unknown {name} {shown(value)}, expected {' or '.join(map(repr, choices))}.")
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
        raise ValueError(f"Got {name} {shown(value)}, expected True or False.")
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
            f"Got output {shown(output)}, expected the index or the key of one of the network's outputs, or None for "
            "the first."
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
    """``seed`` as an int.

    Raises:
        ValueError: when it is not an integer from 0 to 2^63 - 1.
    """
    if not is_number(seed) or not 0 <= seed <= MAX_SEED or int(seed) != seed:
        raise ValueError(f"Got seed {shown(seed)}, expected an integer from 0 to 2^63 - 1.")
    return int(seed)


def check_text(name: str, value: str, expected: str = "text") -> str:
    """``value``, when it is text that is not empty.

    Args:
        name: of the setting.
        value: to check.
        expected: what the text says.

    Raises:
        ValueError: when it is not.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"Got {name} {shown(value)}, expected {expected}.")
    return value


def check_path(name: str, value: str | os.PathLike) -> str:
    """``value`` as the text of a path.

    Args:
        name: of the setting.
        value: to check.

    Raises:
        ValueError: when it is neither text nor a path, empty, or holds a null character.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"Got {name} {shown(value)}, expected the path of a file or folder.")
    return path


def check_instance(name: str, value: Any, kind: type[Kind] | tuple[type[Kind], ...], expected: str) -> Kind:
    """``value``, when it is an object of a class.

    Args:
        name: of the argument.
        value: to check.
        kind: the class, or several.
        expected: an object of the class in words.

    Raises:
        TypeError: when it is of another class, or a class itself.
    """
    if not isinstance(value, kind):
        raise TypeError(f"Got {name} {shown(value)}, expected {expected}.")
    return value


def check_callable(name: str, value: Any, expected: str) -> Any:
    """``value``, when it can be called and is no class.

    Args:
        name: of the argument.
        value: to check.
        expected: what is called, in words.

    Raises:
        TypeError: when it cannot be called, or is a class in place of an object.
    """
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"Got {name} {shown(value)}, expected {expected}.")
    return value


def check_names(name: str, value: Iterable[str]) -> list[str]:
    """``value`` as a list of texts.

    Args:
        name: of the setting.
        value: to check.

    Raises:
        ValueError: when it is text itself, or holds anything else than text.
    """
    names = [] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not names or not all(isinstance(entry, str) for entry in names):
        raise ValueError(f"Got {name} {shown(value)}, expected a list of texts.")
    return names


def shown(value: Any) -> str:
    """A value for an error message, on one line and shortened: of a class its name."""
    text = f"the class {value.__name__}" if isinstance(value, type) else " ".join(repr(value).split())
    return shortened(text, 80)


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, its end left out."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def without_middle(text: str, most: int, end: int) -> str:
    """A text of at most so many characters, ``end`` of them its last, its middle left out."""
    return text if len(text) <= most else f"{text[: most - end - 1]}…{text[-end:]}"


def check_ignore_index(ignore_index: int | None) -> int | None:
    """``ignore_index`` as an int, or None.

    Raises:
        ValueError: when it is neither an integer nor None.
    """
    if ignore_index is None:
        return None
    if not is_number(ignore_index) or not math.isfinite(ignore_index) or ignore_index != int(ignore_index):
        raise ValueError(f"Got ignore_index {shown(ignore_index)}, expected an integer (a label's value) or None.")
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
        raise ValueError(f"Got {name} {shown(value)}, expected a number in {ends[0]}0, 1{ends[1]}.")
    return float(value)


def is_number(value: Any) -> bool:
    """A real number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_positive_number(value: Any) -> bool:
    """A number > 0 that is neither 0 nor infinite in float32."""
    return is_number(value) and TINY <= value <= HUGE


def _in_float32(value: Any) -> str:
    return " in float32" if is_number(value) and 0 < value < math.inf else ""
