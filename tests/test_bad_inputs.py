"""Bad input on the command line: one sentence on stderr, exit code 2, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from bad_input_files import snapshot, write_files

from monai_ima.__main__ import main
from monai_ima.attacks import Attack

RUN = {"bundle": "bundle", "checkpoint": "weights.pt", "out": "out"}
GOOD: dict[str, dict[str, str]] = {
    "evaluate": {**RUN, "levels": "0,0.1", "attack": "pgd2"},
    "attack": {**RUN, "eps": "0.1", "attack": "pgd2"},
    "harden": {"bundle": "bundle"},
    "margins": {"checkpoint": "margins.pt", "out": "out"},
    "report": {"results": "results", "out": "out.html"},
}
"""Options with which each verb works."""

Row = tuple[str, dict[str, str], str]
RUNS = ("evaluate", "attack")
NO_NUMBERS = ("x", "[]", "[1]", "{}", "True", "nan", "inf", "1e999", "''")
NO_COUNTS = (*NO_NUMBERS, "1.5", "0", "-1", "9" * 22)
NO_WEIGHTS = {
    "none.pt": "none.pt does not exist",
    "folder.pt": "folder.pt does not exist",
    "empty.pt": "empty.pt is no checkpoint",
    "text.pt": "text.pt is no checkpoint",
    "truncated.pt": "truncated.pt is no checkpoint",
    "list.pt": "list.pt holds no",
    "numbers.pt": "numbers.pt holds no",
}
"""Damaged checkpoints, and what is said of each."""


def rows(verbs: str | Iterable[str], option: str, *values: str, words: str | None = None) -> list[Row]:
    """A row for each value of an option; the message holds its name, or ``words``."""
    words = option if words is None else words
    return [
        (verb, {option: value}, words) for verb in ([verbs] if isinstance(verbs, str) else verbs) for value in values
    ]


def named(verbs: str | Iterable[str], option: str, *values: str, **others: str) -> list[Row]:
    """The same, where the message holds the value."""
    verbs = [verbs] if isinstance(verbs, str) else verbs
    return [(verb, {option: value, **others}, value) for verb in verbs for value in values]


def with_words(verb: str, option: str, words: dict[str, str], **others: str) -> list[Row]:
    """The same, where the message holds the words of each value."""
    return [(verb, {option: value, **others}, expected) for value, expected in words.items()]


EVALUATION_ROWS = [
    *rows("attack", "eps", *NO_NUMBERS, "None", "0", "-1", "1,2", "1e308", "1e-320"),
    *rows("evaluate", "levels", "[]", "x", "{}", "True", "None", "nan", "-1", "0,x", "0,inf", "[[0,1]]", words="level"),
    *rows("evaluate", "levels", "1e30,1e39", "0,1e-320", words="in float32"),
    *rows("attack", "limit", *NO_COUNTS),
    *rows(RUNS, "seed", *NO_NUMBERS, "1.5", "-1", "None", "9" * 30),
    *rows("evaluate", "tolerance", *NO_NUMBERS, "-1"),
    *rows("evaluate", "eot", *NO_COUNTS, "10001"),
    *rows("evaluate", "cases", *NO_NUMBERS, "-1", "1.5", "101"),
    *rows(RUNS, "norm", "l1", "2", "[l2]", "", "nan"),
    *rows(RUNS, "attack", "x", "", "3", "[pgd2]", "pgd0", "pgd2x0", "noise0", "pgd2+", "pgd2+x", "x+pgd2"),
    *rows(RUNS, "attack", "pgd2+pgd2", "ddn5", "pgd2-dlr"),
    *rows(RUNS, "attack", "pgd2+pgd2-dice", words="dice alone, expected it for segmentations"),
    *rows(RUNS, "channels", "x", "[]", "{}", "True", "-1", "0,0", "1.5", "[[0]]"),
    *rows(RUNS, "channels", "5", words="Got channels (5,) for images of 1 channels"),
    *rows(RUNS, "output", "1.5", "[]", "True", "{}"),
    *rows("evaluate", "units", "x", "[]", "3", "True"),
    *rows("evaluate", "minimum", "x", "1"),
    *rows("evaluate", "transfer_from", "weights.pt", words="expected both"),
    ("evaluate", {"minimum": "True", "levels": "0"}, "--minimum"),
    *rows(RUNS, "out", "full", words="is not empty, expected a new one"),
    *rows(RUNS, "out", "a_file", words="a_file is a file, expected a new folder"),
    *rows(RUNS, "out", "a_file/below", words="a_file is a file"),
    *rows("evaluate", "out", "", "[]"),
    *rows("attack", "out", "[1, 2]"),
    *rows(RUNS, "out", "x" * 300, words="File name too long"),
    *[
        row
        for verb in RUNS
        for kind, words in {"cut": "damaged", "empty": "damaged", "list": "damaged", "binary": "damaged"}.items()
        for row in rows(verb, "out", f"{verb}_settings_{kind}", words=words)
    ],
    *rows(RUNS, "out", "evaluate_settings_other", words="other settings"),
    *rows(RUNS, "bounds", "1,0", "x", "0", "nan,1", "[0,1,2]"),
    *rows(RUNS, "device", "nonsense", "cuda:99", "3.5", "[]", "True", "meta"),
    *rows("attack", "dataset_dir", "none", "folder.pt", words="no samples"),
    *rows("evaluate", "dataset_dir", "none", words="no samples"),
    *rows("attack", "items", "$undefined", words="undefined"),
    *[
        row
        for verb in RUNS
        for row in with_words(verb, "checkpoint", {**NO_WEIGHTS, "other_network.pt": "is of another"})
    ],
    *with_words("evaluate", "transfer_from", {**NO_WEIGHTS, "other_network.pt": "is of another"}, checks="True"),
    *rows("evaluate", "groups", "groups.csv", words="--group_by"),
    *rows("evaluate", "group_by", "site", words="--groups"),
    ("evaluate", {"groups": "groups.csv", "group_by": "age"}, "no column 'age'"),
    *with_words(
        "evaluate",
        "groups",
        {
            "none.csv": "does not exist",
            "folder.pt": "does not exist",
            "weights.pt": "is not UTF-8",
            "groups_short.csv": "has no site (1 in all)",
            "groups_no_site.csv": "no column 'site'",
            "groups_twice.csv": "again",
            "groups_gap.csv": "lacks a sample_id or a site",
            "groups_empty.csv": "no column 'sample_id'",
            "groups_latin.csv": "is not UTF-8",
        },
        group_by="site",
    ),
]
HARDEN_ROWS = [
    *rows("harden", "method", "x", "3", "[]", "None", ""),
    *rows("harden", "eps_max", *NO_NUMBERS, "0", "-1"),
    *rows("harden", "val_eps", "x", "nan", "0", "[]"),
    *rows("harden", "val_steps", *NO_COUNTS),
    *rows("harden", "epochs", "x", "0", "1.5", "True", "9" * 22),
    *rows("harden", "norm", "l1", "3", "[]"),
    *rows("harden", "min_clean", "x", "nan", "True", "[]", "1e999"),
    *rows("harden", "task", "x", "3", "[]"),
    *rows("harden", "sigmoid", "x", "3"),
    *rows("harden", "ignore_index", "x", "1.5", "[]", "True"),
    *rows("harden", "bounds", "x", "1", "1,0", "nan,1", "[]", "True"),
    *rows("harden", "channels", "x", "-1", "[]", "0,0"),
    *rows("harden", "threshold", "x", "0.8", "relative:2", "[]"),
    *rows("harden", "output", "1.5", "[]", "True"),
    *rows("harden", "trainer", "x", "[]"),
    *rows("harden", "delta", "x", "-1", "nan", "[]", "True"),
    *rows("harden", "beta", "x", "-1", "2", "[]"),
    *rows("harden", "steps", *NO_COUNTS),
    *rows("harden", "margin_steps", "x", "0", "True"),
    *rows("harden", "update", "x", "3", "[]"),
    *rows("harden", "start_epoch", "x", "-1", "nan"),
    *with_words("harden", "pretrained", {**NO_WEIGHTS, "other_network.pt": "is of another"}),
]
DAMAGED_MARGINS = [
    "no_ids",
    "short",
    "nan",
    "eps_max",
    "eps_text",
    "delta",
    "delta_text",
    "id_numbers",
    "table",
    "words",
    "no_rows",
]
DAMAGED_RESULTS = [
    "none",
    "cut",
    "empty",
    "list",
    "number",
    "nan",
    "words",
    "binary",
    "task",
    "levels",
    "format",
    "samples",
    "accuracy",
    "attacks",
]
OTHER_ROWS = [
    *named((*RUNS, "harden"), "bundle", "none", "folder.pt", "weights.pt", "[1]"),
    *named((*RUNS, "harden"), "config", "none.json", "metadata.json", "[]", "3", ".."),
    *with_words("margins", "checkpoint", {**NO_WEIGHTS, "weights.pt": "weights.pt holds no margins"}),
    *named("margins", "checkpoint", *(f"margins_{kind}.pt" for kind in DAMAGED_MARGINS)),
    *named("margins", "out", "full", "a_file", "a_file/below"),
    *rows("margins", "out", "", "[1, 2]"),
    *named("report", "results", *(f"results_{kind}.json" for kind in DAMAGED_RESULTS)),
    *named("report", "results", "folder.pt", "weights.pt", "3"),
    *rows("report", "results", "", "[]", ",", words="Got no results"),
    *rows("report", "results", "results,none", words="none does not exist"),
    *rows("report", "results", "results,results_scans", words="metric"),
    *rows("report", "format", "pdf", "", "3", "[html]", "HTML"),
    *named("report", "out", "a_file", "a_file/below.html", "full/letter.txt"),
    *rows("report", "out", "", "[1, 2]"),
    *rows("report", "out", "out.pdf", "out.md", words="expected a name that ends in .html or .htm"),
    ("report", {"format": "md", "out": "out.html"}, "expected a name that ends in .md or .markdown"),
    *rows("report", "results", "results,results", "results,results/results.json", words="twice"),
    *rows("report", "results", "results,", ",results", "results,,results_scans", words="no empty path"),
    *rows((*RUNS, "harden"), "bundle", "None"),
    *rows("margins", "checkpoint", "None"),
    *rows("report", "results", "None"),
    *rows("attack", "attack", "None"),
    *rows("report", "format", "None"),
    *with_words("report", "checkpoint", {**NO_WEIGHTS, "margins_nan.pt": "margins_nan.pt"}),
    *named("report", "logs", "none", "a_file", "logs_empty", "logs_damaged"),
    *rows("report", "names", "a,b", "", ",", "[1,2]"),
]
ROWS = [*EVALUATION_ROWS, *HARDEN_ROWS, *OTHER_ROWS]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_attack_no_folder(monkeypatch):
    """Input is refused before an image is attacked and a folder is made."""

    def too_early(*_: object, **__: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr(Attack, "__call__", too_early)
    monkeypatch.setattr(Path, "mkdir", too_early)


def words_of(verb: str, options: dict[str, str]) -> list[str]:
    return [verb, *(f"--{name}={value}" for name, value in {**GOOD[verb], **options}.items())]


def described(value: object) -> str | None:
    return ",".join(f"{k}={v[:40]}" for k, v in value.items()) if isinstance(value, dict) else None


@pytest.mark.parametrize(("verb", "options", "words"), ROWS, ids=described)
def test_bad_input_is_refused_in_one_line(verb, options, words, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    before = snapshot(files)
    assert main(words_of(verb, options)) == 2
    shown = capsys.readouterr()
    sentence = shown.err.split("\r")[-1]
    assert words in sentence
    assert "expected" in sentence or "give another --out" in sentence
    assert shown.err.count("\n") == 1
    assert sentence.endswith("\n")
    assert snapshot(files) == before
