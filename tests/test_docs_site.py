"""The documentation site: every public name has its place, errors are quoted as they are said, nothing is left out."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest
from conftest import REPO

import monai_ima

DOCS = REPO / "docs"
MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(monai_ima.__path__, "monai_ima.") if not name.endswith("__main__")
)


@pytest.fixture(scope="module")
def pages():
    """The functions of docs/site_pages.py."""
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    pytest.importorskip("nnunetv2", reason="one page is on monai_ima.nnunet, which needs the extra nnunet")
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_pages"] = module
    spec.loader.exec_module(module)
    return module


def said(source: str) -> list[str]:
    """Every text of a program as one string, with … where a value goes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def quoted() -> list[str]:
    return re.findall(r"^> (.+)$", (DOCS / "faq.md").read_text(), re.MULTILINE)


def test_every_error_of_the_faq_is_one_that_the_program_says():
    sentences = {text for file in (REPO / "monai_ima").rglob("*.py") for text in said(file.read_text())}
    assert len(quoted()) > 20
    assert [sentence for sentence in quoted() if not is_said(sentence, sentences)] == []


def is_said(sentence: str, sentences: set[str]) -> bool:
    """Whether a quoted sentence, or its parts between the values, is a text of the program, or ends one."""
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in sentence.split("…")), re.DOTALL)
    return any(pattern.search(text) for text in sentences)


def test_a_sentence_that_nobody_says_is_found():
    assert said('f"Got {x!r}, " f"expected {y}."') == ["Got …, expected ….", "Got ", ", expected ", "."]
    assert is_said("Got …, expected ….", {"Got …, expected …."})
    assert not is_said("Got …, hoped for ….", {"Got …, expected …."})


def test_every_public_name_stands_once_on_the_api_pages(pages):
    text = "\n".join(pages.api_pages().values())
    directives = re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", text, re.MULTILINE)
    assert len(directives) == len(set(directives)) > 500
    objects = [value_of(name) for name in directives]
    classes = [id(value) for value in objects if inspect.isclass(value) or inspect.isroutine(value)]
    assert len(classes) == len(set(classes)), "one object, one description"
    known = set(directives)
    for name in MODULES:
        for public in getattr(importlib.import_module(name), "__all__", []):
            value = value_of(f"{name}.{public}")
            same = id(value) in classes if inspect.isclass(value) or inspect.isroutine(value) else False
            here = f"{name}.{public}" in known or any(
                entry.endswith(f".{public}") and value_of(entry) is value for entry in known
            )
            assert same or here, f"{name}.{public}"


def value_of(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules[module], attribute)


def test_every_page_is_in_a_table_of_contents():
    trees = re.findall(r"```\{toctree\}\n(.*?)```", "\n".join(p.read_text() for p in DOCS.glob("*.md")), re.DOTALL)
    listed = {line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")}
    found = {page.relative_to(DOCS).with_suffix("") for entry in listed for page in DOCS.glob(f"{entry}.md")}
    pages = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")}
    hidden = {page for page in pages if page.parts[0] in ("_build", "generated")}
    assert sorted(map(str, pages - hidden - found)) == ["index"]


def test_links_to_the_readmes_of_bundles_lead_to_their_pages(pages):
    source = ["see [it](../bundles/oct_classification_ima/docs/README.md#data), [x](methods.md)"]
    pages.lead_to_copies(None, "segmentation", source)
    assert source == ["see [it](/generated/bundles/oct_classification_ima.md#data), [x](methods.md)"]


def test_a_returned_value_with_a_colon_is_no_type(pages):
    lines = [
        "What it does.",
        "",
        "Returns:",
        "    the criterion; None: no limit,",
        "    more.",
        "",
        "Raises:",
        "    ValueError: if x.",
    ]
    pages.read_docstring(None, "function", "f", None, None, lines)
    assert ":returns: the criterion; None: no limit," in lines
    assert any(line.startswith(":raises ValueError:") for line in lines)
    constant = ["What counts: the first."]
    pages.read_docstring(None, "data", "C", None, None, constant)
    assert constant[0] == "What counts: the first."


def test_links_that_lead_nowhere_are_found(tmp_path):
    script = DOCS / "check_links.py"
    links = ["b.html#there", "https://example.org/", "#top"]
    (tmp_path / "a.html").write_text("".join(f'<a href="{link}">x</a>' for link in links))
    (tmp_path / "b.html").write_text('<p id="there">x</p> <a href="a.html">x</a> <img src="c.png">')
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["a.html: #top has no such place", "b.html: c.png is no file"]
    (tmp_path / "a.html").write_text('<p id="top"><a href="b.html#there">x</a></p> <a href="#top">x</a>')
    (tmp_path / "c.png").write_bytes(b"")
    assert subprocess.run([sys.executable, script, tmp_path], capture_output=True).returncode == 0
