"""What went wrong, on one line."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

__all__ = ["SampleError", "end_with_cause", "one_line", "root_cause"]


LOADING = re.compile(
    r"Error\(s\) in loading state_dict for (\w+):\s*(?:"
    r'Missing key\(s\) in state_dict: "([^"]+)"|Unexpected key\(s\) in state_dict: "([^"]+)"|'
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, "
    r"the shape in current model is torch\.Size\((.*?)\))"
)


class SampleError(ValueError):
    """Something is wrong with one sample of a batch.

    Args:
        sample: its position in the batch.
        problem: the rest of the sentence: what it has and what was expected.
    """

    def __init__(self, sample: int, problem: str) -> None:
        super().__init__(f"Sample {sample} of the batch {problem}")
        self.sample = sample
        self.problem = problem

    def named(self, sample_ids: Sequence[str]) -> ValueError:
        """The same error, with the sample's id in place of its position."""
        return ValueError(f"Sample {sample_ids[self.sample]!r} {self.problem}")


def root_cause(error: BaseException) -> BaseException:
    """The error that a chain of causes began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type's name where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


def end_with_cause() -> None:
    """From now on, where a wrapped error ends the program, the sentence that it began with is the last line.

    MONAI wraps what goes wrong while it builds or runs a bundle's parts, and ends with words of its own: ``python -m
    monai.bundle run`` on a bundle that calls this ends with ours; where the error is not of this package, with the id
    of the config that failed, and the error's own words.
    """
    if not isinstance(sys.excepthook, _EndsWithCause):
        sys.excepthook = _EndsWithCause(sys.excepthook)


class _EndsWithCause:
    """An exception hook behind another one."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self.before = before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.before(kind, error, trace)
        cause = root_cause(error)
        if cause is error:
            return
        id_ = None if _is_ours(cause) else _failed_id(trace)
        failed = "" if id_ is None else f"{id_} could not be built or run: "
        print(f"{failed}{type(cause).__name__}: {_other_network(cause) or one_line(cause)}", file=sys.stderr)


def _other_network(error: BaseException) -> str | None:
    """What torch says where weights do not fit a network, in one sentence with the first difference."""
    match = LOADING.search(str(error))
    if match is None:
        return None
    network, missing, surplus, other, theirs, ours = match.groups()
    differs = f"{other} is of shape {theirs} there, expected {ours}" if other else f"{surplus} is not in the network"
    if missing:
        differs = f"{missing} is missing there"
    return f"The weights are of another network than this {network}: {differs}; give the options that training had."


def _is_ours(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("monai_ima.")


def _failed_id(trace: TracebackType | None) -> str | None:
    """The id that MONAI was resolving last, in its own spelling."""
    frames = [frame for frame, _ in traceback.walk_tb(trace) if frame.f_code.co_name == "_resolve_one_item"]
    return frames[-1].f_locals.get("id") if frames else None
