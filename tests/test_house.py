"""How long modules and functions may be (DESIGN.md, section 1)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPO
from monai.bundle.config_item import ComponentLocator

PACKAGE = REPO / "monai_ima"


def lines_of(folder: Path) -> dict[str, int]:
    """Lines of every module below a folder."""
    return {
        file.relative_to(PACKAGE).as_posix(): len(file.read_text().splitlines())
        for file in sorted(folder.rglob("*.py"))
    }


def functions_of(source: str) -> Iterator[tuple[str, int]]:
    """Name and lines, decorators included and the docstring left out, of every function and method."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            docstring = node.body[0] if ast.get_docstring(node) is not None else None
            described = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring is not None else 0
            yield node.name, (node.end_lineno or start) - start + 1 - described


def test_no_module_is_longer_than_400_lines():
    assert {name: count for name, count in lines_of(PACKAGE).items() if count > 400} == {}


def test_no_handler_file_is_longer_than_150_lines():
    assert {name: count for name, count in lines_of(PACKAGE / "handlers").items() if count > 150} == {}


def test_no_function_is_longer_than_60_lines():
    found = {
        f"{file.relative_to(PACKAGE).as_posix()}: {name}": count
        for file in sorted(PACKAGE.rglob("*.py"))
        for name, count in functions_of(file.read_text())
        if count > 60
    }
    assert found == {}


def test_lines_of_functions_are_counted_with_decorators_and_without_docstrings():
    source = 'class A:\n    @property\n    def f(self):\n        """One.\n\n        Two."""\n\n    async def g(): ...\n'
    assert dict(functions_of(source)) == {"f": 2, "g": 1}


def test_no_name_stands_in_the_way_of_one_of_monais():
    """Configs name MONAI's classes and functions alone (``"_target_": "Compose"``): of two, MONAI takes the first."""
    theirs = ComponentLocator(excludes=["config", "monai_ima"])
    ours = {
        node.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert len(ours) > 500
    assert {name for name in ours if theirs.get_component_module_name(name) is not None} == set()
