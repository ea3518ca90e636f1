"""The folder that an evaluation writes to: an interrupted one is resumed, and nothing is written over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock
from pydantic import ValidationError

from monai_ima.utils.checks import shortened
from monai_ima.utils.files import check_can_be_made, in_the_way, whole_file
from monai_ima.utils.locks import give_back, take
from monai_ima.utils.workers import workers

from .base import Part
from .schema import RESULTS

__all__ = ["RecordFile", "check_folder", "one_writer", "remove_pictures", "shared_folder", "start_folder"]

SETTINGS = "settings.json"
LOCK = ".lock"
OTHER_CONTENTS = {"weights_sha256": "weights of the network", "data_sha256": "data"}

Record = TypeVar("Record", bound=Part)


class RecordFile(Generic[Record]):
    """A file with one record a line, to which an evaluation adds as it goes.

    Of several processes each adds to a part of its own, ``records.1.jsonl`` beside ``records.jsonl``, so that whatever
    ends one of them cuts off its own last line only.

    Args:
        file: need not exist.
        model: of a record.
        part: 0 adds to the file itself, others to parts of it.
    """

    def __init__(self, file: Path, model: type[Record], part: int = 0) -> None:
        self.file, self.model = file, model
        self.part = file.with_suffix(f".{part}{file.suffix}") if part else file

    def read(self) -> list[Record]:
        """The records that are there, for the one process that may change the file while no other adds to a part.

        A last line that was cut off is taken out of the file, and parts become lines of it.

        Raises:
            ValueError: if another line is no record; it names file and line.
        """
        parts = sorted(self.file.parent.glob(f"{self.file.stem}.*{self.file.suffix}"))
        texts = [_whole_text(path) for path in (self.file, *parts) if path.exists()]
        whole = "".join(map(_whole_lines, texts))
        if parts:
            whole = "".join(f"{line}\n" for line in dict.fromkeys(whole.splitlines()))
        records = self._parsed(whole)
        if [whole] != texts and texts:
            with whole_file(self.file) as file:
                file.write_text(whole, encoding="utf-8")
        for part in parts:
            part.unlink()
        return records

    def peek(self) -> list[Record]:
        """The whole records in the file, parts left out; nothing is changed."""
        return self._parsed(_whole_lines(_whole_text(self.file))) if self.file.exists() else []

    def append(self, records: Sequence[Record]) -> None:
        """Add records, all of them or (where the machine stops) the first of them."""
        with open(self.part, "a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(record.model_dump()) + "\n" for record in records))

    def _parsed(self, lines: str) -> list[Record]:
        return [self._record(number, line) for number, line in enumerate(lines.split("\n")[:-1], 1)]

    def _record(self, number: int, line: str) -> Record:
        try:
            return self.model.model_validate_json(line)
        except ValidationError:
            raise ValueError(
                f"Line {number} of {self.file} is damaged, so that the run in its folder cannot be resumed: expected a "
                "record as the run wrote it, or another --out."
            ) from None


def _whole_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, IsADirectoryError):
        raise ValueError(
            f"{file} is no file of records, so that the run in its folder cannot be resumed: expected UTF-8 text as "
            "the run wrote it, or another --out."
        ) from None


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def check_folder(folder: Path, note: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but an interrupted run with the same settings.

    Of several processes the one that leads looks: the others write into its run.

    Args:
        folder: to write to.
        note: settings that have to be the same, for all or some of those that :func:`start_folder` noted.

    Raises:
        FileExistsError: if it does.
    """
    if not workers().leader:
        return
    check_can_be_made(folder)
    if not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())):
        return
    file = folder / SETTINGS
    if not folder.is_dir() or not file.is_file() or (folder / RESULTS).exists():
        raise in_the_way(folder)
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
        other = OTHER_CONTENTS.get(name, "settings")
        raise FileExistsError(
            f"Folder {folder} holds an interrupted run with other {other} ({name} {_shown(noted.get(name))} there, "
            f"{_shown(given[name])} here): give another --out."
        )


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), 40)


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
    with _locked(folder, LOCK, made):
        for left in folder.glob(f"{LOCK}.*"):
            with _locked(folder, left.name):
                pass
        yield


@contextmanager
def shared_folder(folder: Path, note: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Only this process, and those that share its work, write to the folder as long as the block runs.

    The leader takes the folder and notes the settings, as :func:`one_writer` and :func:`start_folder` do; then the
    others begin the block, each with a lock of its own, that keeps later runs out until all have ended.

    Args:
        folder: to write to.
        note: gives the settings that an interrupted run is resumed with.

    Raises:
        FileExistsError: as :func:`one_writer` and :func:`start_folder`.
        ValueError: if another process has other settings, weights or data than the leader.
    """
    team = workers()
    if team.leader:
        with one_writer(folder):
            noted = note()
            start_folder(folder, noted)
            team.publish("started", json.dumps(noted))
            yield
        return
    given, noted = json.loads(json.dumps(note())), json.loads(team.wait("started"))
    for name, value in given.items():
        if noted.get(name) != value:
            raise ValueError(
                f"Process {team.rank} of {team.size} has another {name} ({_shown(value)}) than the one that leads "
                f"({_shown(noted.get(name))}), expected the same network, samples and settings in all: the samples are "
                "shared here, no DistributedSampler is needed."
            )
    with _locked(folder, f"{LOCK}.{team.rank}", [folder]):
        yield


@contextmanager
def _locked(folder: Path, name: str, made: Sequence[Path] = ()) -> Iterator[None]:
    """Hold a lock; what is left then of a run that wrote nothing is removed, the folders that were made with it."""
    lock = FileLock(folder / name)
    take(lock, f"Another process is writing to folder {folder}: wait for it, or give another --out.")
    try:
        yield
    finally:
        give_back(lock)
        with suppress(FileNotFoundError):
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
