"""Several processes that share one piece of work: who does what, and what has become of the others."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import one_line

if TYPE_CHECKING:
    from torch.distributed import Store

__all__ = ["Workers", "workers", "workers_of_process_group", "workers_of_torchrun"]

Answer = TypeVar("Answer")

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 40
"""So many beats without a sign of life mean that a process is gone."""
POLL = 0.1
"""Seconds between two looks at what the others have done."""
PARTING = 10.0
"""Seconds that a process waits for the others to end before it does."""


class Workers:
    """The processes that share a piece of work; here one, which does all of it.

    Attributes:
        rank: of this process, from 0 on.
        size: how many there are.
        leader: this process writes what there is one of: results, pictures, progress bars and tables.
    """

    rank = 0
    size = 1
    leader = True

    def claim(self, part: object) -> bool:
        """Whether this process does a part of the work: each part is done by the first that claims it."""
        return True

    def publish(self, key: str, value: str = "") -> None:
        """Tell the others something."""

    def wait(self, key: str) -> str:
        """What another process publishes; waits for it as long as the others live."""
        raise RuntimeError(f"There is no other process that could publish {key!r}.")

    def check(self) -> None:
        """Go on only if the others do.

        Raises:
            ConnectionError: if another process has failed or is gone.
        """

    @contextmanager
    def checked(self) -> Iterator[None]:
        """In the block every forward pass of a module begins with :meth:`check`."""
        yield

    def fail(self, message: str) -> None:
        """Say on stderr what went wrong; of several processes that say the same only one is heard."""
        print(message, file=sys.stderr)


class _SeveralWorkers(Workers):
    """Processes that a key-value store connects; it is asked only for what is there, so that no timeout matters.

    Args:
        store: of the processes, with nothing in it from other work.
        rank: of this process.
        size: how many there are.
        leader: rank of the leader; None: the first that comes.
    """

    def __init__(self, store: Store, rank: int, size: int, leader: int | None) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._problem: str | None = None
        self._ended = threading.Event()
        first = self._ask(store.add, "arrived", 1) == 1
        self.leader = first if leader is None else rank == leader
        if self.leader:
            self.publish("leader", str(rank))
        self._beats = itertools.count()
        self._silent: Counter[int] = Counter()
        self._last: dict[int, str] = {}
        self._beat()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def claim(self, part: object) -> bool:
        return self._ask(self._store.add, f"claimed/{part}", 1) == 1

    def publish(self, key: str, value: str = "") -> None:
        self._ask(self._store.set, key, value)

    def wait(self, key: str) -> str:
        while (value := self._get(key)) is None:
            self.check()
            time.sleep(POLL)
        return value

    def check(self) -> None:
        if self._problem is not None:
            raise ConnectionError(self._problem)

    @contextmanager
    def checked(self) -> Iterator[None]:
        from torch.nn.modules.module import register_module_forward_pre_hook

        hook = register_module_forward_pre_hook(lambda *_: self.check())
        try:
            yield
        finally:
            hook.remove()

    def fail(self, message: str) -> None:
        said = hashlib.blake2b(message.strip().encode(), digest_size=8).hexdigest()
        first = True
        with suppress(ConnectionError):
            first = self._ask(self._store.add, f"said/{said}", 1) == 1
            self.publish("failed", message.strip())
        if first:
            super().fail(message)

    def end(self, error: BaseException | None) -> None:
        """Tell the others that this process ends; it waits for them where they may need it.

        Args:
            error: why it ends; None: its work is done.
        """
        with suppress(ConnectionError):
            if error is not None and self._get("failed") is None:
                reason = f"{type(error).__name__}: {one_line(error)}" if isinstance(error, Exception) else "interrupted"
                self.publish("failed", f"Process {self.rank} of {self.size} has ended ({reason}). {GO_ON}")
            self.publish(f"left/{self.rank}")
            self._ended.set()
            self._thread.join()
            failed = self._get("failed") is not None
            until = time.monotonic() + PARTING
            while (self.rank == 0 or failed) and self._present() and time.monotonic() < until:
                time.sleep(POLL)

    def _present(self) -> list[int]:
        """The others that have come, still live and have not left."""
        others = [other for other in range(self.size) if other != self.rank and self._silent[other] < SILENCE]
        return [k for k in others if self._get(f"beat/{k}") is not None and self._get(f"left/{k}") is None]

    def _watch(self) -> None:
        while self._problem is None and not self._ended.wait(BEAT):
            with suppress(ConnectionError):
                self._beat()
                self._problem = self._get("failed") or self._lost()

    def _beat(self) -> None:
        self.publish(f"beat/{self.rank}", str(next(self._beats)))

    def _lost(self) -> str | None:
        """That a process is gone without a word: the leader watches all others, these the leader."""
        leader = self._get("leader")
        watched = range(self.size) if self.leader else [] if leader is None else [int(leader)]
        present = self._present()
        for other in (k for k in watched if k in present):
            beat = self._get(f"beat/{other}")
            self._silent[other] = self._silent[other] + 1 if beat == self._last.get(other) else 0
            self._last[other] = str(beat)
            if self._silent[other] >= SILENCE:
                return f"Process {other} of {self.size} is gone: it was killed, or its machine stopped. {GO_ON}"
        return None

    def _get(self, key: str) -> str | None:
        there = self._ask(self._store.check, [key])
        return self._ask(self._store.get, key).decode() if there else None

    def _ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return question(*arguments)
        except RuntimeError:
            self._problem = f"The process that connects all {self.size} is gone: it was killed, or ended. {GO_ON}"
            raise ConnectionError(self._problem) from None


GO_ON = "Give the same command again: it goes on where it was."
_ALONE = Workers()
_calls: Counter[str] = Counter()
_current: list[Workers] = [_ALONE]


def workers() -> Workers:
    """The processes that share the work in hand; without several, this one alone.

    Example:
        >>> workers().size, workers().leader, workers().claim("batch 0")
        (1, True, True)
    """
    return _current[-1]


@contextmanager
def workers_of_torchrun() -> Iterator[Workers]:
    """In the block :func:`workers` are those that ``torchrun`` started, by its environment variables; rank 0 leads.

    On a machine with several GPUs each process sees one of them only, as its first: that of its ``LOCAL_RANK``.
    Outside of ``torchrun``, or with one process, nothing changes.

    Raises:
        ConnectionError: if the others do not come within five minutes.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2 or "RANK" not in os.environ:
        yield _ALONE
        return
    from torch.cuda import device_count
    from torch.distributed.rendezvous import rendezvous

    os.environ.update(_own_gpu(os.environ.copy(), device_count()))
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(minutes=5))))
    except RuntimeError as error:
        raise ConnectionError(f"The processes that share this work do not find each other: {one_line(error)}") from None
    with _quiet() if rank > 0 else nullcontext(), _sharing("monai_ima", store, rank, size, 0) as several:
        yield several


@contextmanager
def workers_of_process_group(folder: Path) -> Iterator[Workers]:
    """In the block :func:`workers` are the processes of the default process group that write to the same folder.

    The first that comes leads; one that does not come is not waited for. Where there are several already, or no group,
    nothing changes.

    Args:
        folder: that they write to.
    """
    import torch.distributed as dist

    if workers() is not _ALONE or not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield workers()
        return
    name = str(folder.resolve())
    _calls[name] += 1
    store = dist.distributed_c10d._get_default_store()
    with _sharing(f"monai_ima/{name}/{_calls[name]}", store, dist.get_rank(), dist.get_world_size(), None) as several:
        yield several


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, warnings and printed lines: those of rank 0, which reads the same data, are enough."""
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        del os.environ["TQDM_DISABLE"]


@contextmanager
def _sharing(name: str, store: Store, rank: int, size: int, leader: int | None) -> Iterator[Workers]:
    from torch.distributed import PrefixStore

    several = _SeveralWorkers(PrefixStore(name, store), rank, size, leader)
    _current.append(several)
    try:
        yield several
    except BaseException as error:
        several.end(error)
        raise
    else:
        several.end(None)
    finally:
        _current.remove(several)


def _own_gpu(environment: dict[str, str], count: int) -> dict[str, str]:
    """Environment variables with which a process sees its own GPU only.

    Args:
        environment: of the process.
        count: how many GPUs it sees now.
    """
    if count < 2 or "LOCAL_RANK" not in environment:
        return {}
    visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return {
        "CUDA_VISIBLE_DEVICES": visible.split(",")[int(environment["LOCAL_RANK"]) % count],
        "LOCAL_RANK": "0",
    }
