"""Checked access to the fields of a JSON file: what is wrong is said with the file's and the field's name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Field", "read_json"]


@dataclass(frozen=True)
class Field:
    """A value in a JSON file, and where it stands.

    Attributes:
        value: as JSON has it.
        file: the file.
        key: its path in the file, such as ``attacks[0].values``; empty for the whole content.
    """

    value: Any
    file: Path
    key: str = ""

    def error(self, expected: str) -> ValueError:
        """What to raise when the value is not ``expected``."""
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        where = f"{self.key} in {self.file}" if self.key else str(self.file)
        return ValueError(f"{where} is {shown}, expected {expected}.")

    def __getitem__(self, name: str) -> Field:
        """An entry of an object.

        Raises:
            ValueError: when this is no object, or has no such entry.
        """
        path = f"{self.key}.{name}" if self.key else name
        if not isinstance(self.value, dict):
            raise self.error("an object")
        if name not in self.value:
            raise ValueError(f"{self.file} has no {path}, expected it as 'python -m monai_ima evaluate' writes it.")
        return Field(self.value[name], self.file, path)

    @property
    def missing(self) -> bool:
        """Whether the value is null."""
        return self.value is None

    def items(self, count: int | None = None) -> list[Field]:
        """The entries of a list; of ``count`` entries when given."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        if count is not None and len(self.value) != count:
            where = f"{self.key} in {self.file}"
            raise ValueError(f"{where} has {len(self.value)} entries, expected {count}, one a level.")
        return [Field(value, self.file, f"{self.key}[{k}]") for k, value in enumerate(self.value)]

    def entries(self) -> dict[str, Field]:
        """The entries of an object, by name."""
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return {name: self[name] for name in self.value}

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.error("a text")
        return self.value

    def optional_text(self) -> str | None:
        """A string, or None for null."""
        return None if self.missing else self.text()

    def choice(self, *known: str) -> str:
        """One of some strings."""
        if self.value not in known:
            raise self.error(f"one of {', '.join(known)}")
        return str(self.value)

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value

    def count(self) -> int:
        """A integer, 0 or more."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.error("an integer of at least 0")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in [low, high]."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.error("a finite number")
        if not low <= value <= high:
            limits = f"in {low:g}..{high:g}" if math.isfinite(high) else f"of at least {low:g}"
            raise self.error(f"a number {limits}")
        return float(value)

    def optional_number(self, low: float = -math.inf, high: float = math.inf) -> float | None:
        """A finite number in [low, high], or None for null."""
        return None if self.missing else self.number(low, high)

    def interval(self) -> tuple[float, float] | None:
        """Two numbers in 0..1, the first not above the second; None for null."""
        if self.missing:
            return None
        ends = self.value
        if not isinstance(ends, list) or len(ends) != 2:
            raise self.error("two numbers, the ends of an interval")
        low, high = (one.number(0, 1) for one in self.items())
        if low > high:
            raise self.error("the lower end first")
        return low, high


def read_json(file: Path) -> Field:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not JSON.
    """
    if not file.is_file():
        raise FileNotFoundError(f"File {file} does not exist, expected results of 'python -m monai_ima evaluate'.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}), expected results of 'python -m monai_ima evaluate'.") from None
    return Field(content, file)
