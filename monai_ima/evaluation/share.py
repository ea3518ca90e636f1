"""The batches of a loader that one of several processes attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Generic

from monai_ima.results.run_folder import Record, RecordFile
from monai_ima.utils.workers import workers

__all__ = ["Share"]


class Share(Generic[Record]):
    """What this process does of an evaluation that it shares with others (:func:`~monai_ima.utils.workers.workers`).

    Every process goes through the whole loader and attacks, as they are, the batches that it is the first to claim: so
    batches, and with them results, are those of a single process.

    Args:
        records: what there is of the evaluation, and where this process writes its part of it.
        name: tells several evaluations of the same processes apart.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from monai_ima.results.records import AttackedImage
        >>> records = RecordFile(Path(tempfile.mkdtemp()) / "records.jsonl", AttackedImage)
        >>> share = Share(records)
        >>> share.begin(), share.claim(0)
        ([], True)
    """

    def __init__(self, records: RecordFile[Record], name: str = "") -> None:
        self.records = records
        self.name = name
        self.workers = workers()
        self._others: list[int] = []

    def begin(self, sample_ids: Iterable[str] = ()) -> list[Record]:
        """The records of an interrupted evaluation, the parts of all its processes joined.

        Args:
            sample_ids: that have to be the same for all processes, where nothing has made sure of that before.

        Raises:
            ValueError: if they are not.
        """
        digest = hashlib.sha256("\0".join(sample_ids).encode()).hexdigest()
        if self.workers.leader:
            done = self.records.read()
            self.workers.publish(f"{self.name}joined", digest)
            return done
        if self.workers.wait(f"{self.name}joined") != digest:
            raise ValueError(
                f"Process {self.workers.rank} of {self.workers.size} has other samples than the one that leads, "
                "expected the same in all: they are shared here, no DistributedSampler is needed."
            )
        return self.records.peek()

    def claim(self, batch: int) -> bool:
        """Whether this process attacks a batch.

        Args:
            batch: its number in the loader.
        """
        mine = self.workers.claim(f"{self.name}{batch}")
        self._others += [] if mine else [batch]
        return mine

    def deliver(self, batch: int) -> None:
        """The records of a claimed batch are written.

        Args:
            batch: its number in the loader.
        """
        self.workers.publish(f"{self.name}delivered/{batch}")

    def collect(self) -> list[Record]:
        """The records of all processes, once they have delivered everything."""
        if not self.workers.leader:
            self.workers.wait(f"{self.name}collected")
            return self.records.peek()
        for batch in self._others:
            self.workers.wait(f"{self.name}delivered/{batch}")
        collected = self.records.read() if self._others else []
        self.workers.publish(f"{self.name}collected")
        return collected
