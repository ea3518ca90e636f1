"""matplotlib figures as themed inline SVG: colours become CSS variables, text stays text, ids are unique in a page."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

__all__ = ["GRID", "INK", "MUTED", "SERIES", "inline_svg"]

INK, MUTED, GRID = "#010101", "#010102", "#010103"
SERIES = ["#020101", "#020102", "#020103", "#020104", "#020105", "#020106"]
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", **{color: f"series-{k}" for k, color in enumerate(SERIES, 1)}}


def inline_svg(figure: Figure, name: str, title: str, words: str) -> str:
    """An ``<svg>`` element to put into HTML.

    Args:
        figure: drawn in the colours of this module only.
        name: what the ids of its elements begin with.
        title: of the chart.
        words: its content, for those who do not see it.

    Raises:
        ValueError: if the figure has a colour that is none of this module's.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = buffer.getvalue()
    view = re.search(r'viewBox="([^"]+)"', drawn)
    if view is None:
        raise ValueError("The drawn figure has no viewBox, expected matplotlib's SVG.")
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = {reference for tag in TAG.findall(body) for reference in REFERENCE.findall(tag)}
    body = TAG.sub(lambda tag: _themed(tag[0], name, used), body)
    head = f'<svg class="chart" viewBox="{view[1]}" role="img" aria-label="{escape(words)}">'
    return f"{head}<title>{escape(title)}</title>{body}".strip()


TAG = re.compile(r"<[^>]*>")
REFERENCE = re.compile(r'(?:url\(|href=")#([^")]+)')


def _themed(tag: str, name: str, used: set[str]) -> str:
    """A tag with variables for colours, the page's font, and only ids that are referred to."""
    tag = re.sub(r"#[0-9a-f]{6}(?=[;\"])", lambda color: f"var(--{_variable(color[0])})", tag)
    tag = re.sub(r"font-family: [^;\"]+;? ?", "", re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag))
    tag = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(r'(url\(|href=")#', rf"\g<1>#{name}-", tag.replace("xlink:href", "href"))
    return re.sub(r"(\.\d\d)\d+", r"\1", tag)


def _variable(color: str) -> str:
    if color not in VARIABLES:
        raise ValueError(f"A chart has the colour {color}, expected one of the report's own.")
    return VARIABLES[color]
