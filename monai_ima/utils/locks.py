"""Locks on files, free again when the process that held them is gone, whatever ended it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["give_back", "take"]


def take(lock: FileLock, refusal: str) -> None:
    """Take a lock at once.

    Args:
        lock: of a file in a folder that exists.
        refusal: what to say where another one has it.

    Raises:
        FileExistsError: if another one has it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / ".lock"
        >>> mine, other = FileLock(file), FileLock(file)
        >>> take(mine, "Taken.")
        >>> take(other, "Taken.")
        Traceback (most recent call last):
        FileExistsError: Taken.
        >>> give_back(mine)
        >>> file.exists()
        False
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(refusal) from None


def give_back(lock: FileLock) -> None:
    """Give a lock back, and remove its file."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release(force=True)
