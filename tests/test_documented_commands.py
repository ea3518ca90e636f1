"""Every command that README and docs show is one that there is: verbs, options, scripts, ids of configs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import typer
from conftest import REPO
from test_cli import GROUP

DOCUMENTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), *sorted((REPO / "docs" / "howto").glob("*.md"))]
VERBS: Any = GROUP
OURS = re.compile(r"(?:monai-ima|-m monai_ima) (\w+)(?: (\w+))?([^|&;]*)")
SCRIPTS = re.compile(r"((?:benchmarks|data_scripts)/\w+\.py)([^;|`()]*)")
OPTION = re.compile(r"(?<= )--?([A-Za-z][\w#-]*)")
MONAI = {"config_file", "bundle_root", "tracking", "run_name", "tracking_uri"}
"""Options of ``python -m monai.bundle run``, and ids that ``--tracking`` adds."""


def commands(text: str) -> list[str]:
    """The lines of code blocks, indented or fenced, and code within sentences that begins as a command does."""
    fenced = re.findall(r"^ *```(?:bash|sh)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    inline = re.findall(r"`((?:monai-ima|python) [^`]+)`", text.replace("\n", " "))
    joined = [block.replace("\\\n", " ") for block in (*fenced, *indented)]
    return [line for block in joined for line in block.splitlines()] + inline


def ids() -> set[str]:
    """First names of the ids of all shipped configs, and of what ``harden`` adds."""
    configs = (REPO / "bundles").glob("*/configs/*.json")
    return {"harden", *(key.split("#")[0].lstrip("+") for file in configs for key in json.loads(file.read_text()))}


def options_of(command: typer.core.TyperCommand) -> set[str]:
    return {name.lstrip("-") for option in command.params for name in (*option.opts, *option.secondary_opts)}


def problems(line: str) -> list[str]:
    """What a line has that there is not."""
    known, found = ids(), []
    for verb, second, rest in OURS.findall(line):
        group = VERBS.commands.get(verb)
        command: Any = group
        if isinstance(group, typer.core.TyperGroup):
            command = group.commands.get(second)
        if command is None:
            found += [] if verb == "VERB" else [f"verb {verb}"]
            continue
        takes = options_of(command) | {"help"} | (known if command.context_settings else set())
        handler = {"delta", "beta", "update", "steps", "margin_steps", "binary_steps"} if verb == "harden" else set()
        found += [f"--{name}" for name in OPTION.findall(rest) if name.split("#")[0] not in takes | handler]
    if "-m monai.bundle run" in line:
        given = OPTION.findall(line.split("-m monai.bundle run")[1])
        found += [f"--{name}" for name in given if name.split("#")[0] not in known | MONAI]
    for script, rest in SCRIPTS.findall(line):
        if not (REPO / script).is_file():
            found.append(script)
            continue
        text = "".join(file.read_text() for file in (REPO / script).parent.glob("*.py"))
        found += [f"{script} --{name}" for name in OPTION.findall(rest) if f'"--{name}"' not in text]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(REPO)))
def test_commands_of_the_documents_have_verbs_options_and_ids_that_there_are(document):
    wrong = {line.strip(): problems(line) for line in commands(document.read_text(encoding="utf-8"))}
    assert not {line: what for line, what in wrong.items() if what}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("monai-ima fly --bundle B", "verb fly"),
        ("python -m monai_ima evaluate --bundle B --level 0", "--level"),
        ("python -m monai.bundle run --config_file x --phantom 3", "--phantom"),
        ("python benchmarks/none.py --data DIR", "benchmarks/none.py"),
        ("python benchmarks/compare.py --datum DIR", "benchmarks/compare.py --datum"),
    ],
)
def test_what_there_is_not_is_found(line, problem):
    assert [found.replace("verb fly ", "verb fly") for found in problems(line)] == [problem]
