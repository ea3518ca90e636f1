"""Ctrl-C and SIGTERM end a program with one line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .workers import workers

__all__ = ["ending_with_one_line"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


@contextmanager
def ending_with_one_line(how_to_go_on: str) -> Iterator[None]:
    """Where the block is interrupted, say on stderr how to go on and end the process: exit code 130, by SIGTERM 143.

    Args:
        how_to_go_on: one sentence.

    Raises:
        SystemExit: in the place of ``KeyboardInterrupt``.

    Example:
        >>> with ending_with_one_line("Give the same command again."):
        ...     pass
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if main else None
    try:
        yield
    except KeyboardInterrupt as interrupt:
        workers().fail(f"\n{_what_happened(interrupt)} {how_to_go_on}")
        number = signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT
        raise SystemExit(128 + number) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _what_happened(interrupt: KeyboardInterrupt) -> str:
    if isinstance(interrupt, Terminated) and workers().size > 1:
        return "Interrupted, as torchrun does when another process has ended."
    return "Interrupted."


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
