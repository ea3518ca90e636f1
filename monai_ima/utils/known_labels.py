"""Labels that were checked before: an attack shows a criterion the same ones at every step.

Looking for a bad value makes the host wait for the device; so the second look at the same labels is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["known_labels", "labels_are_known"]

_known: ContextVar[bool] = ContextVar("known labels", default=False)


@contextmanager
def known_labels() -> Iterator[None]:
    """Inside the context every label that criteria and losses see has been checked.

    Example:
        >>> with known_labels():
        ...     labels_are_known()
        True
    """
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def labels_are_known() -> bool:
    """Whether labels need no check of their values."""
    return _known.get()
