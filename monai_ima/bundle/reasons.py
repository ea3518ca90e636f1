"""What went wrong, on one line."""

from __future__ import annotations

__all__ = ["one_line", "root_cause"]


def root_cause(error: BaseException) -> BaseException:
    """The error that a chain of causes began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type's name where there is none."""
    return " ".join(str(error).split()) or type(error).__name__
