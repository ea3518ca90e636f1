"""The documentation site: ``make docs`` builds it into ``docs/_build/html``, with warnings as errors."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
REPO = DOCS.parent
sys.path[:0] = [str(DOCS), str(REPO), str(REPO / "benchmarks")]

import site_pages  # noqa: E402

project = "monai_ima"
author = "the authors of monai_ima"
release = importlib.metadata.version("monai-ima")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings = ["ref.python"]  # two classes of one name: the nearer one is meant

html_theme = "furo"
html_title = "monai_ima"
html_show_copyright = False

myst_heading_anchors = 3
nb_execution_mode = os.environ.get("MONAI_IMA_NOTEBOOKS", "force")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_output_stderr = "remove"
nb_execution_show_tb = True
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# What the notebooks run is this tree's library.
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])])

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = [name for name in ["nnunetv2"] if importlib.util.find_spec(name) is None]
maximum_signature_line_length = 100
python_use_unqualified_type_names = True

linkcheck_anchors = False


def setup(app: Any) -> None:
    """Hooks of :mod:`site_pages`."""
    site_pages.without_metadata()
    app.connect("builder-inited", lambda app: site_pages.write_pages(DOCS))
    app.connect("builder-inited", lambda app: site_pages.write_pictures(DOCS))
    app.connect("source-read", site_pages.lead_to_copies)
    app.connect("autodoc-process-docstring", site_pages.read_docstring)
    app.connect("autodoc-process-signature", site_pages.read_signature)
    app.connect("missing-reference", site_pages.lead_to_public_name)
