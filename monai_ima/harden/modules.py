"""A bundle's own modules, such as its package ``scripts``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["forget_modules", "forget_other_bundles", "make_importable"]

_importable: set[str] = set()
"""Folders of bundles that have been put into ``sys.path``."""


def make_importable(root: Path) -> None:
    """Put a bundle's folder in front of ``sys.path``, and forget the modules of the one that was there before."""
    path = str(root.resolve())
    forget_other_bundles(root)
    if path not in sys.path:
        sys.path.insert(0, path)
    _importable.add(path)


def forget_other_bundles(root: Path) -> None:
    """Take the folders of all other bundles out of ``sys.path``, and forget their modules, which may have its names."""
    for other in [entry for entry in sys.path if entry in _importable and entry != str(root.resolve())]:
        sys.path.remove(other)
        forget_modules(Path(other), list(sys.modules))


def forget_modules(root: Path, names: Iterable[str]) -> None:
    """Of the imported modules of these names, forget those whose files lie below a folder.

    Args:
        root: the folder, resolved.
        names: of modules, as in ``sys.modules``.
    """

    @cache
    def below(folder: str) -> bool:
        return Path(folder).resolve().is_relative_to(root)

    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        folders = [os.path.dirname(file)] if file else list(getattr(sys.modules[name], "__path__", []))
        if any(map(below, folders)):
            del sys.modules[name]
