"""Text and tables as LaTeX that needs no package but booktabs."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["WIDE", "Grid", "PaperTable", "code_point", "escape", "parts", "table"]

T = TypeVar("T")

WIDE = 3
"""Scores with intervals that fit side by side beside the ε."""

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "{}$&#%_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": "{`}",
    "–": "--",
    "—": "---",
    "‘": "{`}",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "\u00a0": "~",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "§": r"\S{}",
    "£": r"\pounds{}",
    "©": r"\copyright{}",
    "²": "$^2$",
    "³": "$^3$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "→": r"$\rightarrow$",
    "√": r"$\surd$",
}
WORDS = {"L2": "$L_2$", "L∞": r"$L_\infty$", "ε": r"$\varepsilon$", "--": "-{}-"}
PIECES = re.compile(r"\bL(?:2\b|∞)|ε|--|.", re.DOTALL)
NEEDS_MORE = "ÐÞðþ"
"""Letters that pdflatex knows in other font encodings than its own only."""
GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")
NO_CAPITAL = {"ALPHA", "BETA", "EPSILON", "ZETA", "ETA", "IOTA", "KAPPA", "MU", "NU", "OMICRON", "RHO", "TAU", "CHI"}
LINE, BETWEEN = 80, 2
"""Width of a page's text and of the space beside a column, in digits of a table."""
NARROWEST = 8
"""Characters of a line of a column's head at least."""
NARROW = frozenset(" .,:;'!|()[]/ijlIft-")


def escape(text: str) -> str:
    r"""Text that LaTeX shows as it is, on one line; characters that pdflatex lacks are shown by their code points.

    Example:
        >>> escape("my_model & 50 % at ε = 1 (L∞)")
        'my\\_model \\& 50~\\% at $\\varepsilon$ = 1 ($L_\\infty$)'
        >>> escape("扫描")
        '[U+626B][U+63CF]'
    """
    line = re.sub(r"[\t\n\r\f\v ]+", " ", unicodedata.normalize("NFC", text))
    line = re.sub(r"(?<=\d) (?=%)", "\u00a0", line)
    return "".join(WORDS.get(piece) or _character(piece) for piece in PIECES.findall(line))


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if " " <= character <= "~" or ("À" <= character <= "ÿ" and character not in NEEDS_MORE):
        return character
    greek = GREEK.fullmatch(unicodedata.name(character, ""))
    if greek is not None and greek[2] != "OMICRON" and not (greek[1] == "CAPITAL" and greek[2] in NO_CAPITAL):
        name = greek[2].lower().replace("lamda", "lambda")
        return f"$\\{name.capitalize() if greek[1] == 'CAPITAL' else name}$"
    return code_point(character)


def code_point(character: str) -> str:
    """What stands for a character that cannot be shown: ``[U+626B]``."""
    return f"[U+{ord(character):04X}]"


@dataclass(frozen=True)
class Grid:
    """Cells side by side: a head, and rows in groups that a rule parts.

    Attributes:
        header: one text a column.
        groups: of rows, each with a heading above them, which may be empty.
    """

    header: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Sequence[str]]]]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        label: to refer to it, ``tab:robustness``.
        caption: what the numbers are.
        grids: below each other, as one would be too wide.
    """

    label: str
    caption: str
    grids: Sequence[Grid]


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in parts of at most so many."""
    yield from (items[k : k + size] for k in range(0, len(items), size))


def table(content: PaperTable) -> str:
    """The table as a LaTeX float; texts are escaped here."""
    grids = "\n\n\\medskip\n".join("\n".join(_grid(grid)) for grid in content.grids)
    return "\n".join(
        [
            r"\begin{table}[!htbp]",
            r"\centering",
            rf"\caption{{{escape(content.caption)}}}",
            rf"\label{{{content.label}}}",
            r"\medskip",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{4pt}",
            grids,
            r"\end{table}",
            "",
        ]
    )


def _grid(grid: Grid) -> Iterator[str]:
    columns = len(grid.header)
    yield rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}"
    yield r"\toprule"
    yield from map(_row, _header(grid))
    for heading, rows in grid.groups:
        yield r"\midrule"
        if heading:
            yield rf"\multicolumn{{{columns}}}{{l}}{{{escape(heading)}}} \\"
        yield from map(_row, rows)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _header(grid: Grid) -> list[list[str]]:
    """The columns' names, set at the bottom, and broken into lines only where the page is too narrow for them."""
    rows = [row for _, rows in grid.groups for row in rows]
    bodies = [max(map(_width, cells), default=0) for cells in zip(*rows, strict=True)]
    for limit in range(max(NARROWEST, *map(len, grid.header)), NARROWEST - 1, -1):
        lines = [textwrap.wrap(name, limit) or [""] for name in grid.header]
        heads = (max(map(_width, one)) for one in lines)
        if sum(max(pair) + BETWEEN for pair in zip(heads, bodies, strict=True)) <= LINE:
            break
    height = max(map(len, lines))
    return [list(row) for row in zip(*([""] * (height - len(one)) + one for one in lines), strict=True)]


def _width(text: str) -> float:
    """About how many digits are as wide."""
    return sum(0.6 if letter in NARROW else 1.6 if letter.isupper() or letter in "mw%@" else 1 for letter in text)


def _row(cells: Sequence[str]) -> str:
    first, *others = map(escape, cells)
    guarded = f"{{}}{first}" if first.startswith(("[", "*")) else first
    return " & ".join([guarded, *others]) + r" \\"
