"""What a report is made of, independent of the format it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .charts import Chart

__all__ = [
    "Block",
    "Command",
    "Details",
    "Figures",
    "Findings",
    "Items",
    "Note",
    "Picture",
    "Pictures",
    "Report",
    "Section",
    "Table",
    "Text",
    "Verdict",
]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph that must not be overlooked; ``tone`` is failed, caution or passed."""

    tone: str
    heading: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line for the shell."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """What a reader has to know, in three sentences; each is (what it is about, the sentence).

    Attributes:
        sentences: gain or robustness, cost or clean score, trust.
        tone: of the last: failed, caution or passed.
    """

    sentences: Sequence[tuple[str, str]]
    tone: str


@dataclass(frozen=True)
class Items:
    """A list; each is (what, what there is to say about it)."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row heads it.

    Attributes:
        caption: what the numbers are.
        header: one cell a column.
        rows: cells as texts.
        words: columns after the first are words, not numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False

    @property
    def width(self) -> int:
        """Characters side by side in its widest cells."""
        return sum(max(map(len, column)) for column in zip(self.header, *self.rows, strict=True))


@dataclass(frozen=True)
class Figures:
    """Charts side by side, and the table of their numbers; a large one is folded unless it is ``open``."""

    charts: Sequence[Chart]
    table: Table
    open: bool = False


@dataclass(frozen=True)
class Findings:
    """What checks found; each is (title, status, numbers, what was seen, what a failure means)."""

    findings: Sequence[tuple[str, str, str, str, str]]


@dataclass(frozen=True)
class Picture:
    """A PNG picture with what it shows in words."""

    caption: str
    alt: str
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the PNG's header has them."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")


@dataclass(frozen=True)
class Pictures:
    """Pictures below each other."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded until a reader opens them, and not printed while they are folded."""

    summary: str
    blocks: Sequence[Block]


Block = Text | Note | Command | Verdict | Items | Table | Figures | Findings | Pictures | Details


@dataclass(frozen=True)
class Section:
    """A headed part; ``id`` is unique in the report."""

    id: str
    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: of the page.
        verdict: what the first screen holds: three sentences, and what must not be overlooked.
        figure: the one picture that goes with them.
        sections: the rest; the last one lists what was not measured.
        appendix: provenance and all numbers; folded, and not printed, unless ``open_appendix``.
        footer: below everything.
        open_appendix: the appendix is shown and printed.
    """

    title: str
    verdict: Sequence[Block]
    figure: Figures
    sections: Sequence[Section]
    appendix: Section
    footer: str
    open_appendix: bool = False
