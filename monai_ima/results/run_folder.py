"""The folder that an evaluation writes to: an interrupted one is resumed, and nothing is written over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from monai_ima.utils.files import check_can_be_made, whole_file

from .base import Part
from .schema import RESULTS

__all__ = ["MAX_CASES", "RecordFile", "check_folder", "one_writer", "remove_pictures", "start_folder"]

SETTINGS = "settings.json"
LOCK = ".lock"
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
        """The records that are there; a last line that was cut off is taken out of the file.

        Raises:
            ValueError: if another line is no record; it names file and line.
        """
        if not self.file.exists():
            return []
        try:
            text = self.file.read_text(encoding="utf-8")
        except (UnicodeDecodeError, IsADirectoryError):
            raise ValueError(
                f"{self.file} is no file of records, so that the run in its folder cannot be resumed: expected UTF-8 "
                "text as the run wrote it, or another --out."
            ) from None
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            with whole_file(self.file) as file:
                file.write_text(whole, encoding="utf-8")
        return [self._record(number, line) for number, line in enumerate(whole.split("\n")[:-1], 1)]

    def _record(self, number: int, line: str) -> Record:
        try:
            return self.model.model_validate_json(line)
        except ValidationError:
            raise ValueError(
                f"Line {number} of {self.file} is damaged, so that the run in its folder cannot be resumed: expected a "
                "record as the run wrote it, or another --out."
            ) from None

    def append(self, records: Sequence[Record]) -> None:
        """Add records, all of them or (where the machine stops) the first of them."""
        with open(self.file, "a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(record.model_dump()) + "\n" for record in records))


def check_folder(folder: Path, note: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but an interrupted run with the same settings.

    Args:
        folder: to write to.
        note: settings that have to be the same, for all or some of those that :func:`start_folder` noted.

    Raises:
        FileExistsError: if it does.
    """
    check_can_be_made(folder)
    if not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())):
        return
    file = folder / SETTINGS
    if not folder.is_dir() or not file.is_file() or (folder / RESULTS).exists():
        raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(noted, dict):
            raise ValueError
    except ValueError:
        raise FileExistsError(
            f"File {file} is damaged, so that the run in its folder cannot be resumed: give another --out."
        ) from None
    given = json.loads(json.dumps(note))
    differing = [name for name, value in given.items() if name not in noted or noted[name] != value]
    if differing:
        name = differing[0]
        raise FileExistsError(
            f"Folder {folder} holds an interrupted run with other settings ({name} {_shown(noted.get(name))} there, "
            f"{_shown(given[name])} here): give another --out."
        )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def start_folder(folder: Path, note: Mapping[str, Any]) -> None:
    """Make the folder, and note the settings that an interrupted run is resumed with.

    Raises:
        FileExistsError: as :func:`check_folder`.
    """
    check_folder(folder, note)
    with whole_file(folder / SETTINGS) as file:
        file.write_text(json.dumps(note, indent=1), encoding="utf-8")


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Only this process writes to the folder, which is made, as long as the block runs.

    A folder that the block leaves empty, but for the settings, is removed with those above it that were made too.

    Raises:
        FileExistsError: if another one does.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"Another process is writing to folder {folder}: wait for it, or give another --out."
        ) from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if [path.name for path in folder.iterdir()] == [SETTINGS]:
            (folder / SETTINGS).unlink()
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()


def remove_pictures(folder: Path, name: str) -> None:
    """Remove the pictures of cases that an interrupted evaluation left, and the one of this name."""
    for old in [folder / name, *folder.glob("cases/*.png")]:
        old.unlink(missing_ok=True)
