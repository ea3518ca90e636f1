"""A report as one HTML page: no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Block, Figures, Report, Section
from .charts import Chart, draw

__all__ = ["html_page"]


def html_page(report: Report) -> str:
    """The page's text; the same report gives the same text."""
    environment = Environment(
        loader=PackageLoader("monai_ima.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = {id(chart): Markup(draw(chart, f"chart{k}")) for k, chart in enumerate(_charts(report), 1)}
    return environment.get_template("page.html.j2").render(
        report=report,
        svg=lambda chart: charts[id(chart)],
        data_uri=lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
    )


def _charts(report: Report) -> Iterator[Chart]:
    for block in [*report.summary, *(one for section in report.sections for one in _blocks(section))]:
        if isinstance(block, Figures):
            yield from block.charts


def _blocks(section: Section) -> Iterator[Block]:
    yield from section.blocks
    for part in section.sections:
        yield from _blocks(part)
