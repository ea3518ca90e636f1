"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_can_be_made", "in_the_way", "whole_file"]


def in_the_way(path: Path) -> FileExistsError:
    """The error for a file, or a folder that is not empty, where ``--out`` is to be made."""
    if path.is_dir():
        return FileExistsError(f"Folder {path} is not empty, expected a new one: give another --out.")
    return FileExistsError(f"{path} is a file, expected a new folder: give another --out.")


def check_can_be_made(path: str | Path) -> None:
    """Refuse a file or folder that cannot be made where it is to be.

    Args:
        path: of the file or folder; it need not exist, nor the folders above it.

    Raises:
        NotADirectoryError: if something above it is a file.
        PermissionError: if the folder that it is to be made in is read-only.
    """
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"Got the path {path}, but {folder} is a file: expected a folder.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"Got the path {path}, but folder {folder} is read-only: expected another one.")


@contextmanager
def whole_file(file: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """A path beside ``file`` to write to, which takes its place when the block ends without an error.

    Whatever interrupts the block, a full disk or a killed process, an older file of the name stays as it was.

    Args:
        file: its folder is made where it is missing.
        overwrite: an older file may be there.

    Raises:
        FileExistsError: if one is and must not.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "results.json"
        >>> with whole_file(file) as unfinished:
        ...     _ = unfinished.write_text("{}")
        >>> file.read_text(), [found.name for found in file.parent.iterdir()]
        ('{}', ['results.json'])
    """
    file = Path(file)
    if not overwrite and file.exists():
        raise FileExistsError(f"File {file} exists already, expected a new one.")
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.stem}.part{file.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
