"""Citations: marks in plain text, and the BibTeX entries that they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files

__all__ = ["bibtex", "cite", "cited", "in_markdown", "with_citations"]

MARK = re.compile(r"\ue000([a-z0-9,]+)\ue001")
"""A citation in a text, between two characters of Unicode's private use."""
ENTRY = re.compile(r"^@\w+\{(\w+),.*?^\}\n", re.MULTILINE | re.DOTALL)


@cache
def _library() -> dict[str, str]:
    """Every entry of ``references.bib`` by its key."""
    text = (files(__package__) / "references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in ENTRY.finditer(text)}


def cite(*keys: str) -> str:
    """A mark that cites entries, with the space before it.

    Raises:
        ValueError: if there is no such entry.

    Example:
        >>> in_markdown("The attack was PGD" + cite("madry2018") + ".")
        'The attack was PGD [@madry2018].'
    """
    for key in keys:
        if key not in _library():
            raise ValueError(f"Got the reference {key!r}, expected one of {', '.join(_library())}.")
    return f" \ue000{','.join(keys)}\ue001"


def cited(text: str) -> list[str]:
    """The keys that a text cites, in the order of their first mark."""
    return list(dict.fromkeys(key for keys in MARK.findall(text) for key in keys.split(",")))


def with_citations(text: str, plain: Callable[[str], str], citation: Callable[[list[str]], str]) -> str:
    """The text with its plain parts and its citations written in some format.

    Args:
        text: with marks of :func:`cite`.
        plain: writes what is between two marks.
        citation: writes the keys of one mark.
    """
    parts = MARK.split(text)
    return "".join(citation(part.split(",")) if k % 2 else plain(part) for k, part in enumerate(parts))


def in_markdown(text: str) -> str:
    """The text as Markdown, with citations as Pandoc reads them."""
    escaped = re.compile(r"([\\`*_\[\]<>|#~$])")
    return with_citations(
        text,
        lambda part: escaped.sub(r"\\\1", part),
        lambda keys: f"[{'; '.join(f'@{key}' for key in keys)}]",
    )


def bibtex(keys: Iterable[str]) -> str:
    """The entries of these keys, sorted, as a BibTeX file.

    Example:
        >>> bibtex(["ma2020"]).splitlines()[0]
        '@article{ma2020,'
    """
    return "\n".join(_library()[key] for key in sorted(set(keys)))
