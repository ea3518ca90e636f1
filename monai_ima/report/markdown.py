"""A report as Markdown: tables in place of charts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from monai_ima.utils.checks import check_instance

from .blocks import (
    Block,
    Command,
    Details,
    Figures,
    Findings,
    Items,
    Note,
    Pictures,
    Report,
    Section,
    Table,
    Text,
    Verdict,
)

__all__ = ["markdown"]

SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$])")


def markdown(report: Report) -> str:
    """The report's text; what looks like markup in it is escaped.

    Raises:
        TypeError: if ``report`` is no report.
    """
    check_instance("report", report, Report, "what build_report returns")
    lines = [f"# {_plain(report.title)}", ""]
    lines += [line for block in (*report.verdict, report.figure) for line in _block(block)]
    lines += [line for section in (*report.sections, report.appendix) for line in _section(section, 2)]
    return "\n".join([*lines, _plain(report.footer), ""])


def _section(section: Section, depth: int) -> Iterator[str]:
    yield from (f"{'#' * depth} {_plain(section.title)}", "")
    for block in section.blocks:
        yield from _block(block)
    for part in section.sections:
        yield from _section(part, depth + 1)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text):
            yield from (_plain(text), "")
        case Note(_, heading, text):
            yield from (f"> **{_plain(heading)}** {_plain(text)}", "")
        case Command(text):
            yield from (f"    {' '.join(text.split())}", "")
        case Verdict(sentences, _):
            for what, sentence in sentences:
                yield from (f"**{_plain(what)}** {_plain(sentence)}", "")
        case Items(items):
            yield from (f"- **{_plain(what)}.** {_plain(says)}" for what, says in items)
            yield ""
        case Details(summary, blocks):
            yield from (f"**{_plain(summary)}**", "")
            for part in blocks:
                yield from _block(part)
        case Table(caption, header, rows):
            yield from (f"*{_plain(caption)}*", "")
            yield from _table(header, rows)
        case Figures(table=table):
            yield from _block(table)
        case Findings(findings):
            yield from _table(["check", "result", "numbers", "what was seen", "what a failure means"], findings)
        case Pictures(pictures):
            yield from _table(["case", "what happened"], [(one.caption, one.alt) for one in pictures])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(header)
    yield "|" + "---|" * len(header)
    yield from map(_row, rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """One line that Markdown shows as it is."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split())).replace(r"\<", "&lt;").replace(r"\>", "&gt;")
