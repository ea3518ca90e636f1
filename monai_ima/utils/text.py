"""Text files that come from other machines."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["read_text"]


def read_text(file: str | os.PathLike) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark.

    Raises:
        ValueError: if it is written in another encoding, such as Latin-1 or UTF-16; it names the file.
    """
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"File {file} is not UTF-8 text, expected it to be saved as UTF-8.") from None
