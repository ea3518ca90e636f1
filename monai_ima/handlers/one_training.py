"""One process trains in a folder at a time."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from monai_ima.utils.distributed import rank

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
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FileExistsError(
                f"Another process trains {self.prefix} in folder {self.folder}: wait for it, or give another folder or "
                "name."
            ) from None

    def give_back(self) -> None:
        """Give the lock back, and remove its file."""
        if rank() == 0:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release(force=True)
