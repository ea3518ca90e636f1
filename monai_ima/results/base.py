"""The base of what an evaluation writes: frozen, strictly typed models, and their errors in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from monai_ima.utils.checks import shortened

__all__ = [
    "Bounds",
    "Classes",
    "Count",
    "Curve",
    "Distances",
    "Fraction",
    "Interval",
    "Labels",
    "Levels",
    "NonNegative",
    "Number",
    "Part",
    "Positive",
    "as_numbers",
    "mismatch",
    "one_sentence",
    "shown",
]


def _null_if_undefined(value: Any) -> Any:
    """NaN, infinity and an interval of NaN as None."""
    if isinstance(value, tuple) and all(_null_if_undefined(end) is None for end in value):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _two_rising(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ValueError("two numbers, the ends of an interval")
        if all(isinstance(end, (int, float)) for end in value) and value[0] > value[1]:
            raise ValueError("the lower end first")
        return tuple(value)
    return value


def _pair_rising(value: Any) -> Any:
    ends = list(value) if isinstance(value, list | tuple) else []
    if len(ends) == 2 and all(type(end) in (int, float) for end in ends) and not ends[0] < ends[1]:
        raise ValueError("two numbers, the lower one first")
    return tuple(ends) if ends else value


def _rising(levels: Any) -> Any:
    numbers = isinstance(levels, list) and all(type(level) in (int, float) for level in levels)
    if numbers and (not levels or any(b <= a for a, b in pairwise(levels))):
        raise ValueError("at least one perturbation budget, rising")
    return levels


def _class_or_labels(value: Any) -> Any:
    known = [output for output in value if output is not None] if isinstance(value, list) else value
    if known or not isinstance(value, list):
        _class_or_outputs(known)
    return value


def _class_or_outputs(value: Any) -> Any:
    if isinstance(value, list):
        if not value or any(type(output) is not int or output not in (0, 1) for output in value):
            raise ValueError("0 or 1 for each of the independent outputs")
    elif type(value) is not int:
        raise ValueError("a class index, or a list with 0 or 1 for each of the independent outputs")
    elif value < 0:
        raise ValueError("greater than or equal to 0")
    return value


Count = Annotated[int, Field(ge=0)]
Classes = Annotated[Count | list[Annotated[int, Field(ge=0, le=1)]], BeforeValidator(_class_or_outputs)]
"""A class index, or 0 or 1 for each of several independent outputs."""
Labels = Annotated[Count | list[Annotated[int, Field(ge=0, le=1)] | None], BeforeValidator(_class_or_labels)]
"""The same of labels, None where one is unknown."""
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Levels = Annotated[list[NonNegative], BeforeValidator(_rising)]
"""Perturbation budgets, rising."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Ends = Annotated[tuple[Fraction, Fraction], BeforeValidator(_two_rising)]
Interval = Annotated[Ends | None, BeforeValidator(_null_if_undefined)]
"""Lower and upper end of a 95 % interval; None where none is defined."""
Number = Annotated[float | None, BeforeValidator(_null_if_undefined)]
Bounds = Annotated[tuple[Number, Number], BeforeValidator(_pair_rising)]
"""Lowest and highest intensity, None where there is no such limit."""
Curve = Sequence[Annotated[Fraction | None, BeforeValidator(_null_if_undefined)]]
"""A score in 0..1 for each ε; None where none is defined."""
Distances = Sequence[Annotated[NonNegative | None, BeforeValidator(_null_if_undefined)]]
"""A distance >= 0 for each ε; None where none is defined."""


def as_numbers(curve: Sequence[float | None]) -> list[float]:
    """A curve with NaN where no value is defined."""
    return [math.nan if value is None else value for value in curve]


class Part(BaseModel):
    """A part of what an evaluation writes. Values that are not finite become null where the type allows it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def shown(value: Any) -> str:
    """A value's text for an error message, shortened to 60 characters."""
    return shortened(repr(value), 60)


def mismatch(key: Sequence[str | int], value: Any, expected: str) -> ValidationError:
    """The error of a value that does not go with the rest of its model.

    Args:
        key: path to the value from the model that finds the error.
        value: what was found.
        expected: what was expected, to be read after "expected".
    """
    problem = PydanticCustomError("mismatch", "{expected}", {"expected": expected})
    return ValidationError.from_exception_data(
        "results", [InitErrorDetails(type=problem, loc=tuple(key), input=value, ctx={})]
    )


def one_sentence(error: ValidationError, file: Path) -> str:
    """The first of pydantic's errors: file, key, what was found and what was expected."""
    first = error.errors()[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    if first["type"] == "missing":
        return f"{file} has no {key}, expected it as 'python -m monai_ima evaluate' writes it."
    if first["type"] == "extra_forbidden":
        return f"{file} has the unknown key {key}, expected only what 'python -m monai_ima evaluate' writes."
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{key} in {file} is {shown(first['input'])}, expected {expected}."
