"""The folder that an evaluation writes to: it goes on where it was broken off, and nothing is written over."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "CASES",
    "CHECKS",
    "CROSSCHECK",
    "RECORDS",
    "RESULTS",
    "append_lines",
    "check_folder",
    "read_lines",
    "remove_pictures",
    "start_folder",
    "write_results",
]

SETTINGS, RECORDS, RESULTS = "settings.json", "records.jsonl", "results.json"
CHECKS, CROSSCHECK = "checks.jsonl", "crosscheck.jsonl"
CASES = 10
"""How many of the worst cases are shown."""


def check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but a broken-off evaluation with the same settings.

    Raises:
        FileExistsError: when it does.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    file = folder / SETTINGS
    if folder.is_dir() and file.is_file() and not (folder / RESULTS).exists():
        if json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(settings)):
            return
        raise FileExistsError(f"Folder {folder} holds a broken-off evaluation with other settings: give another --out.")
    raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")


def start_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder, and note the settings that a broken-off evaluation is gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The records in a file, one a line; a last line that was cut off is taken out of the file."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def append_lines(file: Path) -> Callable[[list[dict[str, Any]]], None]:
    """A function that adds records to a file, one a line, all or none of those that it is called with at once."""

    def append(records: list[dict[str, Any]]) -> None:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(record) + "\n" for record in records))

    return append


def remove_pictures(folder: Path, name: str) -> None:
    """Remove the pictures of cases that a broken-off evaluation left, and the one of this name."""
    for old in [folder / name, *folder.glob("cases/*.png")]:
        old.unlink(missing_ok=True)


def write_results(folder: Path, content: dict[str, Any]) -> None:
    """Write results.json, which ends an evaluation; NaN becomes null."""
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    (folder / RESULTS).write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
