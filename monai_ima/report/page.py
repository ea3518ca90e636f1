"""A report as one HTML page: no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import re
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monai_ima.utils.checks import check_instance

from .blocks import Report
from .charts import draw

__all__ = ["html_page"]

TOGETHER = re.compile(r"(?<=\d) (?!\[)|(?<=\[\d\.\d{3},) |(?<=<) |(?<=\(n) |(?<=\(n =) ")
"""Spaces in a table of numbers where no line may end: in a number with its unit, an interval, ``< 0.001``, ``(n = 9)``.
The ends of an interval of differences, which have signs, may stand on two lines."""


def html_page(report: Report) -> str:
    """The page's text; the same report gives the same text.

    Raises:
        TypeError: if ``report`` is no report.
    """
    check_instance("report", report, Report, "what build_report returns")
    environment = Environment(
        loader=PackageLoader("monai_ima.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count(1)
    return environment.get_template("page.html.j2").render(
        report=report,
        svg=lambda chart: Markup(draw(chart, f"chart{next(numbers)}")),
        unbroken=_unbroken,
        data_uri=lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
    )


def _unbroken(cell: str) -> str:
    return TOGETHER.sub("\u00a0", cell)
