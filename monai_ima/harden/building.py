"""Foreign configs are built: quietly, and what goes wrong is said in one sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from monai_ima.utils.errors import one_line, root_cause

__all__ = ["buildable", "quiet_workflow"]


def quiet_workflow(files: Sequence[str | Path], root: Path, **arguments: Any) -> ConfigWorkflow:
    """A bundle's workflow that leaves the logging of this process as it is; MONAI's warning that it does is left out.

    Args:
        files: the configs, merged in this order.
        root: folder of the bundle.
        arguments: further ones of ``ConfigWorkflow``, and values of ids of the configs.
    """
    log = logging.getLogger(ConfigWorkflow.__module__)
    log.addFilter(_says_more)
    try:
        return ConfigWorkflow([str(file) for file in files], logging_file=False, bundle_root=str(root), **arguments)
    finally:
        log.removeFilter(_says_more)


def _says_more(record: logging.LogRecord) -> bool:
    return "skipping logging" not in record.getMessage()


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
