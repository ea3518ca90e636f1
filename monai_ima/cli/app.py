"""The console script ``monai-ima``: its verbs, and its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer

from monai_ima import __version__
from monai_ima.utils.checks import shown
from monai_ima.utils.interrupts import ending_with_one_line
from monai_ima.utils.workers import workers, workers_of_torchrun

from .arguments import normalise, one_of
from .attack import AttackOptions, attack
from .bundle import get_bundle, list_bundles
from .demo import demo
from .evaluate import EvaluateOptions, evaluate
from .harden import HardenOptions, harden
from .margins import margins
from .nnunet import nnunet_evaluate, nnunet_path
from .options import help_texts, verb_command
from .report import report
from .suggest import SuggestOptions, suggest

__all__ = ["app", "main"]

NAME = "monai-ima"
PATH = """\b
The path, for BUNDLE, a folder with configs/train.json and weights in models/model.pt:
  1. which noise is plausible in its images
     monai-ima suggest --bundle BUNDLE
  2. harden: writes configs/train_ima.json and prints the line that trains
     monai-ima harden --bundle BUNDLE
  3. measure the trained network under attack
     monai-ima evaluate --bundle BUNDLE --checkpoint BUNDLE/models/model_ima.pt --levels 0,0.01,0.02
  4. a page to read and to send
     monai-ima report --results BUNDLE/eval/robustness

\b
Nothing at hand yet? A demonstration on synthetic scans, plain training beside IMA, in minutes
     monai-ima demo --quick --out ima_demo

\b
Without a bundle of your own: those that come with monai_ima, and a copy to train (its docs/README.md says how)
     monai-ima bundle list
     monai-ima bundle get ecg_classification_ima my_bundles

\b
In nnU-Net v2:
     export nnUNet_extTrainer=$(monai-ima nnunet path)
     nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerIMA

Each verb's --help ends with an example.
"""

app = typer.Typer(
    help="Increasing-Margin Adversarial training for MONAI: harden, evaluate, attack and report on image networks.",
    epilog=PATH,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[Callable[..., None], type | None] = {
    demo: None,
    suggest: SuggestOptions,
    harden: HardenOptions,
    evaluate: EvaluateOptions,
    attack: AttackOptions,
    margins: None,
    report: None,
}
"""The verbs, in the order in which they are used.

Those with a class of options take further ones: ids of a config, or arguments of a handler."""
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "bundle": (
        "The bundles of monai_ima: list them, get a copy.",
        {"list": list_bundles, "get": get_bundle},
    ),
    "nnunet": (
        "Adversarial training in nnU-Net v2, and the robustness of what it has trained.",
        {"path": nnunet_path, "evaluate": nnunet_evaluate},
    ),
}
"""Verbs with verbs of their own, and what each group is for."""
GO_ON = dict.fromkeys(("attack", "evaluate", "nnunet"), "Give the same command again: it goes on where it was.")
"""What an interrupted verb says that several processes may run."""
INTERRUPTED = {**GO_ON, "demo": "It starts afresh: give another --out, or empty the folder if there are files in it."}
"""What an interrupted verb says."""
for verb, settings in VERBS.items():
    further = {} if settings is None else {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=further, **help_texts(verb))(verb_command(verb, settings))
for group, (description, verbs) in GROUPS.items():
    members = typer.Typer(help=description, short_help=description, rich_markup_mode=None)
    app.add_typer(members, name=group)
    for name, verb in verbs.items():
        members.command(name, **help_texts(verb))(verb_command(verb, None))


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"{NAME} {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: the words after the program's name; None: those of this process.

    Returns:
        0 on success; 2 on bad use or bad input, with one line on stderr.

    Raises:
        SystemExit: with code 130 on Ctrl-C and 143 on SIGTERM, after one line on stderr that says how to go on.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words[0] not in GO_ON:
        return _run(words)
    try:
        with workers_of_torchrun():
            return _run(words)
    except ConnectionError as error:
        print(error, file=sys.stderr)
        return 2


def _run(words: Sequence[str]) -> int:
    """Run a verb; of several processes that fail alike one says why."""
    try:
        with ending_with_one_line(INTERRUPTED.get(words[0], "Nothing was kept of it: give the same command again.")):
            program = _program()
            work = program.main(_checked(program, words), prog_name=NAME, standalone_mode=False)
            if callable(work):
                work()
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        cause = _cause(error)
        if isinstance(cause, RuntimeError):
            raise
        workers().fail(" ".join(_message(cause).split()))
        return 2
    return 0


@cache
def _program() -> Any:
    """The commands, which take long to put together."""
    return typer.main.get_command(app)


def _cause(error: BaseException) -> BaseException:
    """The error that MONAI wrapped in RuntimeErrors when a component could not be built."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _message(error: BaseException) -> str:
    """What an error says; what the operating system says in a sentence that names the file."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"Cannot use {shown(error.filename)}, expected a path that can be used: {error.strerror}."
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _checked(group: Any, words: Sequence[str], before: str = "") -> list[str]:
    """The words in one form, unknown verbs, unknown options, surplus arguments and missing options refused."""
    first, *others = words
    if first.startswith("-"):
        known = [*(name for option in group.params for name in option.opts), "--help", "-h"]
        if first not in known:
            raise ValueError(f"Unknown option {first}, expected {one_of(known, first)}.")
        return [first]
    if first not in group.commands:
        raise ValueError(f"Unknown verb {before + first!r}, expected {one_of(group.commands, first)}.")
    if isinstance(group.commands[first], typer.core.TyperGroup):
        return [first, *_checked(group.commands[first], others or ["--help"], f"{before}{first} ")]
    if {"--help", "-h"} & set(others):
        return [first, "--help"]
    return [first, *normalise(group.commands[first], others)]
