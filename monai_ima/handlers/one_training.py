"""One process trains in a folder at a time."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from monai_ima.utils.distributed import rank
from monai_ima.utils.locks import give_back, take

__all__ = ["TrainingLock"]


class TrainingLock:
    """A lock on the files of one prefix in a folder; that of a process that was killed is free.

    Args:
        folder: is made when the lock is taken.
        prefix: of the files' names.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self._lock = FileLock(folder / f".{prefix}.lock", is_singleton=True)

    def take(self) -> None:
        """Take the lock, unless this process has it.

        Raises:
            FileExistsError: if another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        take(
            self._lock,
            f"Another process trains {self.prefix} in folder {self.folder}: wait for it, or give another folder or "
            "name.",
        )

    def give_back(self) -> None:
        """Give the lock back, and remove its file."""
        if rank() == 0:
            give_back(self._lock)
