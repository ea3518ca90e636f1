"""Reports on robustness from ``results.json``: an HTML page, Markdown or JSON."""

from monai_ima.results.schema import Results

from .build import build_report
from .logs import read_logs
from .markdown import markdown
from .page import html_page
from .summary import json_summary
from .training_sections import Margins

__all__ = ["Margins", "Results", "build_report", "html_page", "json_summary", "markdown", "read_logs"]
