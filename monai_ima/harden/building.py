"""What goes wrong while the parts of a foreign config are built, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_ima.utils.errors import one_line, root_cause

__all__ = ["buildable"]


@contextmanager
def buildable(file: Path) -> Iterator[None]:
    """Say which config cannot be built, and why, where a component or an expression of it raises an error.

    A sentence of a component that refuses its arguments, a ValueError or that of a file, is kept as it is.

    Args:
        file: the config.

    Raises:
        ValueError: if something in it cannot be built.
    """
    try:
        yield
    except (RuntimeError, TypeError, AttributeError, NameError, ImportError, ArithmeticError, LookupError) as error:
        cause = root_cause(error)
        if isinstance(cause, ValueError | OSError):
            raise cause from error
        problem = f"{type(cause).__name__}: {one_line(cause)}"
        raise ValueError(f"Config {file} cannot be built, expected values that its parts take: {problem}") from error
