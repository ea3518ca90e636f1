"""The folder that an evaluation writes to: an interrupted one is resumed, and nothing is written over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from .base import Part
from .schema import RESULTS

__all__ = ["MAX_CASES", "RecordFile", "check_folder", "remove_pictures", "start_folder"]

SETTINGS = "settings.json"
MAX_CASES = 10
"""How many of the cases that are broken most easily are shown."""

Record = TypeVar("Record", bound=Part)


class RecordFile(Generic[Record]):
    """A file with one record a line, to which an evaluation adds as it goes.

    Args:
        file: need not exist.
        model: of a record.
    """

    def __init__(self, file: Path, model: type[Record]) -> None:
        self.file, self.model = file, model

    def read(self) -> list[Record]:
        """The records that are there; a last line that was cut off is taken out of the file."""
        if not self.file.is_file():
            return []
        text = self.file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.file.write_text(whole, encoding="utf-8")
        return [self.model.model_validate_json(line) for line in whole.splitlines()]

    def append(self, records: Sequence[Record]) -> None:
        """Add records, all of them or (where the machine stops) the first of them."""
        with open(self.file, "a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(record.model_dump()) + "\n" for record in records))


def check_folder(folder: Path, note: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but an interrupted evaluation with the same settings.

    Args:
        folder: to write to.
        note: settings that have to be the same, for all or some of those that :func:`start_folder` noted.

    Raises:
        FileExistsError: if it does.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    file = folder / SETTINGS
    if folder.is_dir() and file.is_file() and not (folder / RESULTS).exists():
        noted = json.loads(file.read_text(encoding="utf-8"))
        if {**noted, **json.loads(json.dumps(note))} == noted:
            return
        raise FileExistsError(
            f"Folder {folder} holds an interrupted evaluation with other settings: give another --out."
        )
    raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")


def start_folder(folder: Path, note: Mapping[str, Any]) -> None:
    """Make the folder, and note the settings that an interrupted evaluation is resumed with.

    Raises:
        FileExistsError: as :func:`check_folder`.
    """
    check_folder(folder, note)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(note, indent=1), encoding="utf-8")


def remove_pictures(folder: Path, name: str) -> None:
    """Remove the pictures of cases that an interrupted evaluation left, and the one of this name."""
    for old in [folder / name, *folder.glob("cases/*.png")]:
        old.unlink(missing_ok=True)
