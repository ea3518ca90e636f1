"""The words of a command line: options in either spelling, values as Python literals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from monai_ima.from_files.settings import FILE_OPTIONS

__all__ = [
    "further_options",
    "literal",
    "new_folder",
    "normalise",
    "one_of",
    "text",
    "unknown_option",
]

OPTION = re.compile(r"--|-[A-Za-z]")
INSTEAD = {"evaluate": "model", "suggest": "images"}
"""What some verbs take in place of --bundle."""
HOME = re.compile(r"(?:^|(?<=,))~(?=/|,|$)")


def literal(text: Any) -> Any:
    """The value of a number, list, tuple, dictionary, True, False, None or quoted string; other text as it is.

    The rules are those of ``python -m monai.bundle``, which takes the same overrides.
    """
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text) if isinstance(text, str) else text


def text(word: str) -> Any:
    """Text as it is; without its quotes where it has any, and a list where it is one in brackets.

    None is no text; ``~`` at the start of a path is the home folder.
    """
    if word == "None":
        return None
    word = HOME.sub(lambda _: str(Path.home()), word)
    value = literal(word) if word[:1] in ("'", '"', "[", "(") else word
    return value if isinstance(value, str | list | tuple) else word


def new_folder(path: str | Path) -> Path:
    """A folder to write to.

    Raises:
        FileExistsError: if it exists and is not an empty folder.
        OSError: if it cannot be made.
    """
    from monai_ima.utils.files import check_can_be_made, in_the_way

    folder = Path(path)
    check_can_be_made(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise in_the_way(folder)
    return folder


def one_of(names: Iterable[str], given: str) -> str:
    """The name nearest to the given one; all names where none is near."""
    names = list(names)
    return next(iter(get_close_matches(given, names, 1)), f"one of {', '.join(names)}")


def unknown_option(name: str, known: Iterable[str], otherwise: str, of: str = "") -> ValueError:
    """The error for an option that does not exist: it names the nearest one, or what was expected otherwise."""
    near = get_close_matches(name.lstrip("-").replace("-", "_").replace("::", "#"), list(known), 1)
    return ValueError(f"Unknown option {name}{of}, expected {f'--{near[0]}' if near else otherwise}.")


def normalise(verb: Any, words: Sequence[str]) -> list[str]:
    """The words after a verb as typer reads them: ``--name=value``, underscores in names, flags without a value.

    A required option may stand without its name, in the order of the help; a flag may have the value True or False.

    Args:
        verb: typer's command.
        words: of the command line.

    Returns:
        The known options, then further ones where the verb takes them, as they were spelt, behind ``--``: typer leaves
        them alone.

    Raises:
        ValueError: if an option is unknown, has no value or a wrong one, or is missing; if a word is surplus.
    """
    spellings = [(name, option) for option in verb.params for name in (*option.opts, *option.secondary_opts)]
    options = {name[2:]: option for name, option in spellings if name.startswith("--")}
    short = {name: f"--{option.name}" for name, option in spellings if not name.startswith("--")}
    given: dict[str, str | None] = {}
    further: dict[str, str | None] = {}
    unnamed: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if not OPTION.match(word):
            unnamed.append(word)
            continue
        spelling, equals, rest = word.partition("=")
        spelling = short.get(spelling, spelling)
        value = rest if equals else waiting.pop() if waiting and not OPTION.match(waiting[-1]) else None
        name = spelling.removeprefix("--").replace("-", "_")
        if spelling.startswith("--") and name in options:
            given[name] = value
        elif spelling.startswith("--") and name and verb.context_settings.get("ignore_unknown_options"):
            further[spelling] = value
        else:
            raise unknown_option(spelling, options, f"one of {', '.join(options)}")
    instead = INSTEAD.get(verb.name)
    of_bundle = instead in options and instead not in given
    if of_bundle:
        further |= {f"--{name}": given.pop(name) for name in FILE_OPTIONS if name in given}
    required = [*["bundle"] * of_bundle, *(option.name for option in verb.params if option.required)]
    missing = [name for name in dict.fromkeys(required) if name not in given]
    given |= zip(missing, unnamed, strict=False)
    if len(unnamed) > len(missing):
        raise ValueError(f"Got {unnamed[len(missing)]!r} too many, expected options such as --name value (see --help).")
    for name in missing[len(unnamed) :]:
        other = f", or --{instead}" if name == "bundle" and of_bundle else ""
        for misspelt in get_close_matches(f"--{name}", further, 1):
            raise ValueError(f"Unknown option {misspelt}, expected --{name}.")
        raise ValueError(f"Option --{name} is missing, expected a value for it{other} (see --help).")
    known = [word for name, value in given.items() for word in _words(options[name], name, value)]
    others = [name if value is None else f"{name}={value}" for name, value in further.items()]
    return [*known, "--", *others] if others else known


def _words(option: Any, name: str, value: str | None) -> list[str]:
    """One option as typer reads it."""
    if not option.is_flag:
        if value is None:
            raise ValueError(f"Option --{name} has no value, expected --{name} VALUE (see --help).")
        if option.required and literal(value) is None:
            raise ValueError(f"Got {name} {value}, expected a value for it (see --help).")
        return [f"--{name}={value}"]
    if value not in (None, "True", "False"):
        raise ValueError(f"Got {name} {value!r}, expected True or False.")
    return [f"--{name}"] if value != "False" else [s for s in option.opts + option.secondary_opts if s[2:] != name]


def further_options(words: Sequence[str]) -> dict[str, Any]:
    """The options that :func:`normalise` left as they were spelt, ``--name=value`` or ``--name``, with their values."""
    split = [word.partition("=") for word in words]
    return {name: literal(value) if equals else True for name, equals, value in split}
