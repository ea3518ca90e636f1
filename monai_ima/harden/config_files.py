"""A bundle's config files, read as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_ima.utils.errors import one_line

__all__ = ["MOST", "read_config"]

MOST = 1_000_000
"""Values that a config may hold, each repetition by an alias counted; MONAI's largest bundles hold some thousands."""


def read_config(file: Path) -> dict[str, Any]:
    """The content of a JSON or YAML file.

    Raises:
        ValueError: if it cannot be parsed, is no dictionary, or holds more than a million values: YAML's aliases can
            make a file of a few lines larger than any memory.
    """
    try:
        content = ConfigParser.load_config_file(file)
    except Exception as error:
        raise ValueError(f"Config {file} cannot be read, expected JSON or YAML: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Config {file} holds {type(content).__name__}, expected a dictionary.")
    if _size(content, {}) > MOST:
        raise ValueError(
            f"Config {file} holds more than {MOST} values once its YAML aliases are written out, expected fewer."
        )
    return content


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values there are in one, as often as it repeats them; more than ``MOST`` for one that holds itself."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST + 1
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(value)]
