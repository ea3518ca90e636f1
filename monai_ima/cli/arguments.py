"""The words of a command line: options in either spelling, values as Python literals, overrides of config ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "OVERRIDES",
    "Bundle",
    "Checkpoint",
    "Config",
    "Norm",
    "Seed",
    "config_overrides",
    "further_options",
    "literal",
    "new_folder",
    "normalise",
    "one_of",
    "unknown_option",
    "value",
]

OVERRIDES: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Context settings of a verb that takes further options; it reads them by :func:`further_options`."""
OPTION = re.compile(r"--|-[A-Za-z]")

Bundle = Annotated[str, typer.Option(help="Folder of the bundle.", metavar="DIR")]
Checkpoint = Annotated[
    str | None, typer.Option(help="Weights; default: the config's ckpt_path, else BUNDLE/models/model.pt.")
]
Config = Annotated[str, typer.Option(help="File name(s) in BUNDLE/configs, several separated by commas.")]
Norm = Annotated[str, typer.Option(help="l2 or linf.")]
Seed = Annotated[int, typer.Option(help="Of the random starts.")]


def literal(text: Any) -> Any:
    """The value of a number, list, tuple, dictionary, True, False, None or quoted string; other text as it is.

    The rules are those of ``python -m monai.bundle``, which takes the same overrides.
    """
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text) if isinstance(text, str) else text


def value(help: str, *names: str, metavar: str = "NUMBER") -> Any:
    """An option whose value is parsed by :func:`literal`; whether it is valid is for the settings to say."""
    return typer.Option(*names, parser=literal, metavar=metavar, help=help)


def new_folder(path: str | Path) -> Path:
    """A folder to write to that is empty or does not exist yet.

    Raises:
        FileExistsError: if it is neither.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")
    return folder


def one_of(names: Iterable[str], given: str) -> str:
    """The name nearest to the given one; all names where none is near."""
    names = list(names)
    return next(iter(get_close_matches(given, names, 1)), f"one of {', '.join(names)}")


def normalise(verb: Any, words: Sequence[str]) -> list[str]:
    """The words after a verb as typer reads them: ``--name=value``, underscores in names, flags without a value.

    A required option may stand without its name, in the order of the help; a flag may have the value True or False.

    Args:
        verb: typer's command.
        words: of the command line.

    Returns:
        The known options, then those that a verb with :data:`OVERRIDES` takes besides, as they were spelt.

    Raises:
        ValueError: if an option is unknown, has no value or a wrong one, or is missing; if a word is surplus.
    """
    options = {name[2:]: option for option in verb.params for name in (*option.opts, *option.secondary_opts)}
    given: dict[str, str | None] = {}
    further: list[str] = []
    unnamed: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if not OPTION.match(word):
            unnamed.append(word)
            continue
        spelling, equals, text = word.partition("=")
        content = text if equals else waiting.pop() if waiting and not OPTION.match(waiting[-1]) else None
        name = spelling.removeprefix("--").replace("-", "_")
        if name in options and spelling.startswith("--"):
            given[name] = content
        elif name and spelling.startswith("--") and verb.context_settings.get("ignore_unknown_options"):
            further.append(spelling if content is None else f"{spelling}={content}")
        else:
            raise unknown_option(spelling, options, f"one of {', '.join(options)}")
    missing = [option.name for option in verb.params if option.required and option.name not in given]
    given |= zip(missing, unnamed, strict=False)
    _refuse(missing, unnamed, further)
    return [*(word for name, content in given.items() for word in _words(options[name], name, content)), *further]


def _refuse(missing: Sequence[str], unnamed: Sequence[str], further: Sequence[str]) -> None:
    """Refuse more unnamed words than options are missing, or fewer."""
    if len(unnamed) > len(missing):
        raise ValueError(f"Got {unnamed[len(missing)]!r} too many, expected options such as --name value (see --help).")
    for name in missing[len(unnamed) :]:
        misspelt = get_close_matches(name, [word[2:].partition("=")[0] for word in further], 1)
        if misspelt:
            raise ValueError(f"Unknown option --{misspelt[0]}, expected --{name}.")
        raise ValueError(f"Option --{name} is missing, expected a value for it (see --help).")


def _words(option: Any, name: str, content: str | None) -> list[str]:
    """One option as typer reads it."""
    if not option.is_flag:
        if content is None:
            raise ValueError(f"Option --{name} has no value, expected --{name} VALUE (see --help).")
        return [f"--{name}={content}"]
    if content not in (None, "True", "False"):
        raise ValueError(f"Got {name} {content!r}, expected True or False.")
    return [f"--{name}"] if content != "False" else [s for s in option.opts + option.secondary_opts if s[2:] != name]


def further_options(context: typer.Context) -> dict[str, Any]:
    """The options of a command line that its verb does not know, by their names as they were spelt."""
    split = [word.removeprefix("--").partition("=") for word in context.args]
    return {name: literal(text) if equals else True for name, equals, text in split}


def unknown_option(name: str, known: Iterable[str], otherwise: str, of: str = "") -> ValueError:
    """The error for an option that does not exist: it names the nearest one, or what was expected otherwise."""
    name = name if name.startswith("-") else f"--{name}"
    near = get_close_matches(name.lstrip("-").replace("-", "_").replace("::", "#"), list(known), 1)
    return ValueError(f"Unknown option {name}{of}, expected {f'--{near[0]}' if near else otherwise}.")


def config_overrides(context: typer.Context) -> dict[str, Any]:
    """The further options of a verb that runs a bundle, as values of ids of its config.

    Raises:
        ValueError: if the config has no such id.
    """
    options = further_options(context)
    if not options:
        return {}
    from monai_ima.harden.overrides import ConfigIds

    bundle, config = context.params["bundle"], context.params["config"]
    ids = ConfigIds(bundle, config)
    overrides = {}
    for name, content in options.items():
        id_ = ids.find(name)
        if id_ is None:
            otherwise = f"an option of {context.command.name} (see --help) or an id of {bundle}/configs/{config}"
            raise unknown_option(name, [*context.params, *ids.near(name)], otherwise)
        overrides[id_] = content
    return overrides
