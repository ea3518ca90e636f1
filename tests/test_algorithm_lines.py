"""docs/handler.md leads from every line of the paper's algorithms to code that exists and says so."""

from __future__ import annotations

import importlib
import re

import pytest
from conftest import REPO

ALGORITHMS = {1: range(1, 10), 2: [*range(1, 11), 13, 14], 3: range(1, 10)}
"""Numbered lines of the paper, but for those that only end a loop or a branch."""

PAGE = (REPO / "docs" / "handler.md").read_text(encoding="utf-8").split("## Where is line N?")[1].split("\n## ")[0]


def numbers(text):
    found = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal():
            found += range(int(first), int(last or first) + 1)
    return found


def resolve(path):
    """The object of a dotted name: the longest module, then attributes."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_line_is_in_the_table(algorithm):
    table = PAGE.split(f"| Algorithm {algorithm} |")[1].split("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert sorted({line for row in rows for line in numbers(row)}) == list(ALGORITHMS[algorithm])


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(monai_ima\.[\w.]+)`", PAGE))))
def test_what_the_table_names_exists_and_names_its_line(path):
    assert re.search(r"[Ll]ines? \d|Algorithm", resolve(path).__doc__)
