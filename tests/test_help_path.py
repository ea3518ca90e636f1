"""What ``--help`` shows is what a newcomer types: its lines run as they stand, one after the other."""

from __future__ import annotations

import shlex
import shutil

import pytest
import torch
from test_cli import COMMANDS
from test_harden import QUICK, train
from wild_bundles import STYLES

from monai_ima.__main__ import main
from monai_ima.harden.modules import make_importable

VERBS = ["suggest", "harden", "evaluate", "attack", "margins", "report"]
"""In the order in which they are used; ``demo`` is run by a test of its own."""


def help_of(capsys, *verb: str) -> str:
    assert main([*verb, "--help"]) == 0
    return capsys.readouterr().out


def lines_of(shown: str) -> list[list[str]]:
    """The lines of a help text that are a command of ours, as words."""
    lines = [line.strip().removeprefix("Example: ") for line in shown.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("monai-ima ")]


def typed(words: list[str], capsys, quick: dict[str, list[str]]) -> str:
    """What a line prints; options that make it quick are added for some verbs."""
    assert main([*words[1:], *quick.get(words[1], [])]) == 0, (words, capsys.readouterr().err)
    return capsys.readouterr().out


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A plain bundle of the wild with weights, in the current folder."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "BUNDLE"
    STYLES["zoo_classification"](root)
    make_importable(root)
    network = train(root, "train.json", epochs=1).parser.get_parsed_content("network_def")
    (root / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def test_the_path_of_help_runs_in_its_order(bundle, capsys):
    path = lines_of(help_of(capsys))
    path = [words for words in path if words[1] != "demo"]
    assert [words[1] for words in path] == ["suggest", "harden", "evaluate", "report", "bundle", "bundle"]
    assert list(COMMANDS) == ["demo", "suggest", "harden", "evaluate", "attack", "margins", "report"]
    for words in path:
        printed = typed(words, capsys, {"harden": QUICK})
        assert printed.strip()
        if words[1] == "harden":
            assert "train_ima.json" in printed
            train(bundle, "train.json", "train_ima.json", epochs=1)
    assert (bundle / "eval" / "robustness" / "report.html").is_file()
    assert (bundle.parent / "my_bundles" / "ecg_classification_ima" / "docs" / "README.md").is_file()


def test_every_verbs_help_ends_with_an_example_that_works(bundle, capsys):
    typed(["monai-ima", "harden", "--bundle", "BUNDLE"], capsys, {"harden": QUICK})
    train(bundle, "train.json", "train_ima.json", epochs=1)
    (bundle / "configs" / "train_ima.json").unlink()
    shutil.move(bundle / "models" / "model_ima_last.pt", bundle / "models" / "model_last.pt")
    for verb in VERBS:
        shown = help_of(capsys, verb)
        (words,) = lines_of(shown.splitlines()[-1])
        assert words[1] == verb
        assert typed(words, capsys, {}).strip(), words
    commands = help_of(capsys).split("Commands:")[1].split("The path")[0]
    assert "..." not in commands, "no verb's line is cut off"
