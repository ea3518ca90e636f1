"""What went wrong, on one line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["SampleError", "one_line", "root_cause"]


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
