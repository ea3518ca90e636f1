"""How far a long piece of work is: one line on stderr, with the time that the rest of it takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

__all__ = ["Progress", "on_terminal"]

Stage = tuple[str, float]
"""An attack's name and the ε it is run at."""


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a line can be written over; a log file keeps every one."""
    return sys.stderr.isatty()


class Progress:
    """Samples done of how many, level, attack and remaining time, on one line.

    The remaining time is that of all stages of all samples still to come. A stage takes each sample what it took the
    samples before on average; before the first samples are through, what the stages so far took on average.
    Where stderr is no terminal, the line tells of samples only, once for each batch.

    Args:
        title: what is done.
        stages: that every sample goes through; an attack at an ε each.
        total: how many samples there are, or batches; None where that is not known.
        unit: what ``total`` counts.
        later: how many further stages await each sample after this work.
        processes: that share the samples.
        shown: False for no line at all.
        leave: the last line stays.
        clock: gives seconds.

    Example:
        >>> with Progress("under attack", [("pgd10", 0.1)], total=2, shown=False) as progress:
        ...     progress.begin(1)
        ...     progress.stage("pgd10", 0.1)
        ...     progress.end()
        ...     progress.passed
        1
    """

    def __init__(
        self,
        title: str,
        stages: Sequence[Stage],
        total: int | None,
        *,
        unit: str = "samples",
        later: int = 0,
        processes: int = 1,
        shown: bool = True,
        leave: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stages = list(stages)
        self.total = total
        self.passed = 0
        self._later = later
        self._processes = processes
        self._clock = clock
        self._levels = sorted({eps for _, eps in stages})
        self._size = 0
        self._seconds: dict[Stage | None, float] = {}
        self._measured = 0
        self._current: dict[Stage | None, float] = {}
        self._stage: Stage | None = None
        self._since = clock()
        self._live = on_terminal()
        line: dict[str, Any] = {}
        if self._live:
            done = "{desc}: {n_fmt}{unit}" if total is None else "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit}"
            line = {"bar_format": done + "{postfix} [{elapsed}<{left}]", "miniters": 0}
        self._line = _Line(desc=title, total=total, unit=f" {unit}", disable=not shown, leave=leave, **line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line.close()

    def begin(self, size: int) -> None:
        """A batch of so many samples begins, with what comes before its first stage."""
        self._size, self._stage, self._current = size, None, {}

    def stage(self, attack: str, eps: float) -> None:
        """The samples of the batch go into a stage."""
        self._close_stage()
        self._stage = (attack, eps)
        if self._live:
            self._tell_left()
            level = f"ε {eps:g} ({self._levels.index(eps) + 1}/{len(self._levels)})"
            self._line.set_postfix_str(f"{level}, {attack}", refresh=False)
            self._line.update(0)

    def end(self) -> None:
        """The batch is done; stages that it did not go into took no time."""
        self._close_stage()
        for stage, seconds in self._current.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        size = self._size
        self._measured += size
        self._size, self._current = 0, {}
        self._advance(size)

    def skip(self, size: int) -> None:
        """So many samples were done before, or are done by another process."""
        self._since = self._clock()
        self._advance(size)

    def remaining(self) -> float | None:
        """Seconds that are left of the whole work, the stages after it included; None while nothing is known."""
        cost = self._cost()
        if self.total is None or not cost:
            return None
        each = sum(cost.values())
        this = self._size * sum(seconds for stage, seconds in cost.items() if stage not in self._current)
        ahead = max(self.total - self.passed - self._size, 0) * each
        later = self.total * self._later * each / max(len(self.stages), 1)
        return this + (ahead + later) / self._processes

    def _cost(self) -> dict[Stage | None, float]:
        """Seconds for each sample, by stage and (None) before the first one; empty while nothing is known."""
        if self._measured:
            return {stage: seconds / self._measured for stage, seconds in self._seconds.items()}
        known = {stage: seconds / self._size for stage, seconds in self._current.items()}
        attacks = [seconds for stage, seconds in known.items() if stage is not None]
        if not attacks:
            return {}
        mean = sum(attacks) / len(attacks)
        return {**dict.fromkeys(self.stages, mean), **known}

    def _close_stage(self) -> None:
        now = self._clock()
        self._current[self._stage] = self._current.get(self._stage, 0.0) + now - self._since
        self._since = now

    def _tell_left(self) -> None:
        left = self.remaining()
        self._line.left = "?" if left is None else tqdm.format_interval(left)

    def _advance(self, size: int) -> None:
        self.passed += size
        if self._live:
            self._tell_left()
        self._line.update(size)


class _Line(tqdm):
    """A line whose format may have ``{left}``."""

    left = "?"

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "left": self.left}
