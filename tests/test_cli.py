"""The command line of every verb: help, refusals in one line, values and overrides; nothing here runs a network."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import tomllib
from unittest.mock import MagicMock

import pytest
import typer
from conftest import REPO

from monai_ima import __version__
from monai_ima.__main__ import main
from monai_ima.cli import evaluation_run
from monai_ima.cli.app import app
from monai_ima.cli.arguments import text
from monai_ima.cli.attack import AttackOptions
from monai_ima.from_files.settings import FILE_OPTIONS

BUNDLE = str(REPO / "bundles" / "oct_classification_ima")
REQUIRED = {
    "attack": ["--bundle", BUNDLE, "--eps", "1"],
    "demo": [],
    "evaluate": ["--bundle", BUNDLE, "--levels", "0,1"],
    "harden": ["--bundle", BUNDLE],
    "margins": ["--checkpoint", "none.pt"],
    "report": ["--results", "none"],
    "suggest": ["--bundle", BUNDLE],
}
GROUP = typer.main.get_command(app)
assert isinstance(GROUP, typer.core.TyperGroup)
COMMANDS = {name: command for name, command in GROUP.commands.items() if not isinstance(command, typer.core.TyperGroup)}


def test_every_verb_is_in_the_tables():
    assert set(COMMANDS) == set(REQUIRED)


def test_help_and_version_answer_without_heavy_imports():
    requests = [["--version"], ["--help"], [], *([verb, "--help"] for verb in REQUIRED), ["evaluate", "DIR", "-h"]]
    code = (
        "import sys; from monai_ima.__main__ import main\n"
        f"assert [main(words) for words in {requests!r}] == [0] * {len(requests)}\n"
        "assert not {'torch', 'monai', 'ignite', 'numpy', 'matplotlib', 'fire'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"monai-ima {__version__}\n")
    assert done.stdout.count("Usage: monai-ima evaluate") == 2


@pytest.mark.parametrize("verb", REQUIRED)
def test_help_has_an_example_that_the_verb_accepts(verb, capsys):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    (example,) = [line.split("Example: monai-ima ")[1] for line in shown.splitlines() if "Example: " in line]
    words = example.split()
    assert words[0] == verb
    known = {option.name for option in COMMANDS[verb].params}
    assert {word[2:].split("=")[0] for word in words if word.startswith("--")} <= known
    assert not [line for line in shown.splitlines() if line.lstrip().startswith("--") and "-" in line.split()[0][2:]]


def test_the_console_script_is_main():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    module, name = project["scripts"]["monai-ima"].split(":")
    assert getattr(importlib.import_module(module), name) is main


def test_the_module_exits_with_the_code():
    done = subprocess.run([sys.executable, "-m", "monai_ima", "evalute"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "Unknown verb 'evalute', expected evaluate.\n")


def test_the_shell_completes_verbs_and_options(monkeypatch, capsys):
    for typed, expected in {"monai-ima eva": "evaluate", "monai-ima harden --eps": "--eps_max"}.items():
        monkeypatch.setenv("_MONAI_IMA_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        with pytest.raises(SystemExit) as exit_:
            main([])
        assert exit_.value.code in (0, None)
        assert capsys.readouterr().out.split() == [expected]


MISSPELT = {
    "attack": "bundel:bundle ep:eps nrom:norm atack:attack chekpoint:checkpoint confg:config limt:limit "
    "batch_siz:batch_size",
    "demo": "outt:out sed:seed quik:quick noisy_sample:noisy_samples",
    "evaluate": "levles:levels level:levels minimun:minimum crosschek:crosscheck "
    "tranfer_from:transfer_from group-bye:group_by dataset_dri:dataset_dir",
    "harden": "metod:method eps_maxx:eps_max min-claen:min_clean dryrun:dry_run step:steps "
    "margin_step:margin_steps bta:beta updat:update",
    "margins": "chekpoint:checkpoint outt:out",
    "report": "result:results formt:format chekpoint:checkpoint log:logs titel:title name:names",
    "suggest": "limits:limit seeds:seed outt:out chanels:channels dataset_dri:dataset_dir",
}
"""Misspelt options of each verb, with the nearest one."""


def refusal(capsys, *words: str) -> str:
    """The one line on stderr with which a command is refused."""
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err.strip()


@pytest.mark.parametrize(("verb", "pair"), [(verb, pair) for verb, pairs in MISSPELT.items() for pair in pairs.split()])
@pytest.mark.parametrize("spelling", ["{} 1", "{}=1", "{}"])
def test_a_misspelt_option_is_refused_with_the_nearest_name(verb, pair, spelling, capsys):
    option, nearest = (f"--{name}" for name in pair.split(":"))
    error = refusal(capsys, verb, *REQUIRED[verb], *spelling.format(option).split())
    assert error.startswith(f"Unknown option {option}")
    assert error.endswith(f", expected {nearest}.")


@pytest.mark.parametrize("verb", [verb for verb, required in REQUIRED.items() if required])
def test_a_misspelt_required_option_is_not_called_missing(verb, capsys):
    required = REQUIRED[verb]
    name = required[-2]
    error = refusal(capsys, verb, *required[:-2], f"{name}x", required[-1])
    assert error == f"Unknown option {name}x, expected {name}."


@pytest.mark.parametrize("verb", REQUIRED)
def test_a_missing_option_and_a_surplus_word_are_refused(verb, capsys):
    required = REQUIRED[verb]
    for k in range(0, len(required), 2):
        rest = [*required[:k], *required[k + 2 :]]
        others = {"evaluate": ", or --model", "suggest": ", or --images"}
        instead = others.get(verb, "") if required[k] == "--bundle" else ""
        assert refusal(capsys, verb, *rest) == (
            f"Option {required[k]} is missing, expected a value for it{instead} (see --help)."
        )
    assert refusal(capsys, verb, *required, "surplus").startswith("Got 'surplus' too many, expected options such as")
    assert refusal(capsys, verb, "surplus", *required).startswith("Got 'surplus' too many, expected options such as")
    assert refusal(capsys, verb, *required, "--out" if verb != "harden" else "--norm").endswith("VALUE (see --help).")
    assert refusal(capsys, verb, *required, "-x").startswith("Unknown option -x, expected ")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["evalute"], "Unknown verb 'evalute', expected evaluate."),
        (
            ["zzz"],
            "Unknown verb 'zzz', expected one of demo, suggest, harden, evaluate, attack, margins, report, bundle, "
            "nnunet.",
        ),
        (["--verison"], "Unknown option --verison, expected --version."),
        (["evaluate", *REQUIRED["evaluate"], "--checks", "maybe"], "Got checks 'maybe', expected True or False."),
        (["harden", BUNDLE, "--check=1"], "Got check '1', expected True or False."),
        (["attack", *REQUIRED["attack"], "--limit", "few"], "Got limit 'few', expected an integer >= 1."),
        (["evaluate", *REQUIRED["evaluate"], "--seed", "1.5"], "Got seed 1.5, expected an integer from 0 to 2^63 - 1."),
        (
            ["margins", "--checkpoint", "none.pt"],
            "Checkpoint none.pt does not exist, expected a file written by torch.save.",
        ),
        (
            ["attack", *REQUIRED["attack"], "--network_def#chanels", "[4]"],
            "Unknown option --network_def#chanels, expected --network_def#channels.",
        ),
        (
            ["attack", *REQUIRED["attack"], "--network_def::num_clases", "4"],
            "Unknown option --network_def::num_clases, expected --network_def#num_classes.",
        ),
        (
            ["attack", *REQUIRED["attack"], "--bundle_root", "x"],
            "Unknown option --bundle_root, expected --bundle.",
        ),
        (
            ["evaluate", *REQUIRED["evaluate"], "--zzz", "1"],
            "Unknown option --zzz, expected an option of evaluate (see --help) or an id of "
            f"{BUNDLE}/configs/evaluate.json.",
        ),
        (
            ["evaluate", *REQUIRED["evaluate"], "--config", "no.json", "--batch_size", "1"],
            f"Config {BUNDLE}/configs/no.json does not exist, expected it in the bundle.",
        ),
        (
            ["attack", "--bundle", "none", "--eps", "1", "--batch_size", "1"],
            "Folder none does not exist, expected that of a MONAI bundle.",
        ),
    ],
)
def test_bad_use_is_refused_in_one_line(words, error, capsys):
    assert refusal(capsys, *words) == error


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """The arguments with which the work of `attack` and `evaluate` would start."""
    received: list[dict] = []

    def attack(loaded, attack, eps, folder, limit, seed, *rest):
        received.append({"overrides": loaded.given, "seed": seed})
        return []

    def load_bundle(*_, **overrides):
        loaded = MagicMock(given=overrides, segments=False, weights_sha256="0" * 64)
        loaded.bounds = loaded.attack_criterion = loaded.channels = None
        loaded.with_output.return_value = loaded
        return loaded

    monkeypatch.setattr("monai_ima.harden.loading.load_bundle", load_bundle)
    monkeypatch.setattr("monai_ima.evaluation.attacked_images.names_of_images", lambda *_: {})
    monkeypatch.setattr("monai_ima.evaluation.attacked_images.save_attacked_images", attack)
    monkeypatch.setattr(evaluation_run, "run_evaluation", lambda settings: received.append(settings.model_dump()))
    return received


def test_values_are_python_literals_in_either_spelling_of_the_option(calls, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("sample_id,7\na,b\n")
    words = ["--levels", "0,0.5", "--transfer-from", "5", "--group_by=7", "--minimum", "--checks", "True"]
    words += ["--groups", str(groups)]
    assert main(["evaluate", "--bundle", BUNDLE, *words, "--crosscheck", "False", "--tolerance", "2"]) == 0
    (options,) = calls
    assert options["levels"] == (0.0, 0.5)
    assert (options["transfer_from"], options["group_by"]) == ("5", "7"), "names and paths stay text"
    assert [options[flag] for flag in ("minimum", "checks", "crosscheck")] == [True, True, False]
    assert options["tolerance"] == 2.0


def test_an_interrupt_while_options_are_read_ends_with_the_line_too(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_ima.cli.app._checked", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["attack", *REQUIRED["attack"]])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted. Give the same command again: it goes on where it was.\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_a_verb_with_one_line_that_says_how_to_go_on(number, code, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(evaluation_run, "run_evaluation", lambda settings: signal.raise_signal(number))
    ignored_in_the_background = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *REQUIRED["evaluate"]])
    finally:
        signal.signal(signal.SIGINT, ignored_in_the_background)
    assert stop.value.code == code
    assert capsys.readouterr().err == "\nInterrupted. Give the same command again: it goes on where it was.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_text_may_be_quoted_and_lists_may_be_in_brackets(calls, capsys):
    assert main(["evaluate", BUNDLE, "0", "--checkpoint", '"a#b.pt"', "--out", "a#b", "--attack", "pgd5+pgd7"]) == 0
    assert [calls[0][name] for name in ("checkpoint", "out", "attack")] == ["a#b.pt", "a#b", "pgd5+pgd7"]
    files = [str(REPO / "bundles" / "none" / name) for name in "ab"]
    assert f"{files[0]} does not exist" in refusal(capsys, "report", "--results", json.dumps(files))
    error = refusal(capsys, "harden", BUNDLE, "--config", "['train.json', 'none.json']")
    assert error == f"Config {BUNDLE}/configs/none.json does not exist, expected it in the bundle."


def test_none_is_no_text_and_the_tilde_is_the_home_folder(calls, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--out=None", "--checkpoint=~/w.pt", "--transfer_from=a~/b", "--checks"]
    assert main(["evaluate", *REQUIRED["evaluate"], *words]) == 0
    assert [calls[0][name] for name in ("out", "checkpoint", "transfer_from")] == [None, f"{tmp_path}/w.pt", "a~/b"]
    assert main(["evaluate", *REQUIRED["evaluate"], "--out=~"]) == 0
    assert calls[1]["out"] == str(tmp_path)
    assert text("~/a,~/b") == f"{tmp_path}/a,{tmp_path}/b"


def test_integral_floats_are_integers():
    options = AttackOptions(bundle="b", eps=1.0, limit=1e3, seed=2e1)  # type: ignore[arg-type]
    assert (options.limit, options.seed, type(options.limit), type(options.seed)) == (1000, 20, int, int)


def test_the_defaults_are_those_of_the_function(calls):
    assert main(["evaluate", BUNDLE, "0,1"]) == 0
    assert main(["evaluate", "--levels", "0,1", BUNDLE]) == 0
    assert calls[0] == calls[1]
    assert calls[0] == {
        **dict.fromkeys(["attack", "out", "checkpoint", "transfer_from", "groups", "group_by"]),
        **dict.fromkeys(["task", "sigmoid", "ignore_index", "bounds", "channels", "output"]),
        **dict.fromkeys(["model", *FILE_OPTIONS]),
        **dict.fromkeys(["minimum", "checks", "crosscheck"], False),
        **{"bundle": BUNDLE, "levels": (0, 1), "norm": "linf", "config": None, "seed": 0, "tolerance": 1.0},
        **{
            "units": "network",
            "eot": 1,
            "overrides": {},
            "perturbation": None,
            "draws": 10,
            "torchio": False,
            "cases": 10,
        },
    }


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["--batch_size", "3"], {"batch_size": 3}),
        (["--batch-size=3", "--seed", "4"], {"batch_size": 3}),
        (["--network_def#channels", "[4, 8]"], {"network_def#channels": [4, 8]}),
        (["--evaluator::val_data_loader", "@loader"], {"evaluator#val_data_loader": "@loader"}),
        (["--imports#0", "$import math"], {"imports#0": "$import math"}),
        (["--phantom_per_class", json.dumps({"train": 4, "test": 3})], {"phantom_per_class": {"train": 4, "test": 3}}),
        (["--dataset_dir", "/data/x-1"], {"dataset_dir": "/data/x-1"}),
        (["--dataset_dir", "'7'"], {"dataset_dir": "7"}),
        (["--dataset_dir", "None"], {"dataset_dir": None}),
        (["--check_images", "False"], {"check_images": False}),
        (["--check_images"], {"check_images": True}),
        (["--device", "$torch.device('cpu')"], {"device": "$torch.device('cpu')"}),
        (["--network", "@network_def"], {"network": "@network_def"}),
    ],
)
def test_overrides_are_ids_of_the_config_with_values_as_monai_reads_them(words, overrides, calls, tmp_path):
    assert main(["attack", "--bundle", BUNDLE, "--eps", "1", "--out", str(tmp_path / "out"), *words]) == 0
    assert main(["evaluate", "--bundle", BUNDLE, "--levels", "0", *words]) == 0
    attacked, evaluated = calls
    assert attacked["overrides"] == evaluated["overrides"] == overrides
    assert attacked["seed"] == evaluated["seed"] == (4 if "--seed" in words else 0)
