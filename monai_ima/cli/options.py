"""Options of the verbs, declared once: as fields of a settings class or parameters of a function, with their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from monai_ima.from_files.settings import FILE_OPTIONS
from monai_ima.utils.checks import shown

from .arguments import further_options, literal, text, unknown_option

__all__ = ["config_overrides", "help_texts", "option_names", "verb_command"]


def verb_command(verb: Callable[..., None], settings: Callable[..., Any] | None) -> Callable[..., Callable[[], None]]:
    """The command that typer parses a verb's options with; it returns the call that does the work.

    Args:
        verb: is called with the settings and the further options of the command line; without a settings class with
            its own parameters.
        settings: what the options are made of: those annotated as ``Annotated[type, ..., "help"]`` are options.
    """
    options = _options(settings or verb)

    texts = [option for option in options if option.annotation.__metadata__[0].metavar == "TEXT"]
    allowed = {option.name: str | None if option.default is None else str for option in texts}

    def parse(context: typer.Context, **options: Any) -> Callable[[], None]:
        for name, kind in allowed.items():
            if not isinstance(options[name], kind):
                raise ValueError(f"Got {name} {shown(options[name])}, expected text.")
        if settings is None:
            return partial(verb, **options)
        return partial(verb, settings(**options), further_options(context.args))

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    required_first = sorted(options, key=lambda option: option.default is not option.empty)
    parse.__signature__ = inspect.Signature([context, *required_first])  # type: ignore[attr-defined]
    parse.__annotations__ = {option.name: option.annotation for option in [context, *options]}
    parse.__name__ = verb.__name__
    return parse


def help_texts(verb: Callable[..., None]) -> dict[str, Any]:
    """What typer shows of a verb: its docstring, whose first sentence is all that a list of verbs has of it, and whose
    last line, the example, stands below the options."""
    text, start, example = (inspect.getdoc(verb) or "").partition("\b\nExample: ")
    return {
        "help": text,
        "short_help": " ".join(text.partition("\n\n")[0].split()),
        "epilog": f"{start}{example}",
    }


def option_names(settings: Any) -> list[str]:
    """The names of the options that settings, or a class of them, are made of."""
    return [option.name for option in _options(settings if isinstance(settings, type) else type(settings))]


def config_overrides(verb: str, options: Any, further: Mapping[str, Any]) -> dict[str, Any]:
    """The further options of a verb that runs a bundle, as values of ids of its config.

    Raises:
        ValueError: if the config has no such id.
    """
    if not further:
        return {}
    from monai_ima.harden.overrides import ConfigIds
    from monai_ima.harden.reading import evaluation_files

    files = ",".join(evaluation_files(options.bundle, options.config))
    ids = ConfigIds(options.bundle, files)
    overrides = {}
    for name, value in further.items():
        id_ = ids.find(name[2:])
        if id_ is None and name[2:] in FILE_OPTIONS:
            raise ValueError(f"Option {name} is for --model, expected an id of {options.bundle}/configs/{files}.")
        if id_ is None:
            where = f"{options.bundle}/configs/{files}"
            expected = f"an option of {verb} (see --help) or an id of {where}"
            raise unknown_option(name, [*option_names(options), *ids.near(name[2:])], expected)
        overrides[id_] = value
    return overrides


def _options(source: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a settings class or a verb that have a help text, annotated as typer reads them."""
    hints = get_type_hints(source, include_extras=True)
    return [
        parameter.replace(annotation=_option(name, *get_args(hints[name])), kind=parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(source).parameters.items()
        if get_origin(hints[name]) is Annotated and isinstance(get_args(hints[name])[-1], str)
    ]


def _option(name: str, kind: Any, *metadata: Any) -> Any:
    """Text stays as it is, flags take no value, anything else is parsed as a literal; the settings validate it.

    The last text among the annotations is the help, those before it are short names such as ``-d``.
    """
    *short, help = (text for text in metadata if isinstance(text, str))
    if kind is bool:
        return Annotated[bool, typer.Option(f"--{name}", help=help)]
    if kind == bool | None:
        return Annotated[bool | None, typer.Option(f"--{name}/--no_{name}", help=help)]
    is_text = str in (kind, *get_args(kind)) and not {int, float} & set(get_args(kind))
    is_list = any(get_origin(part) is Sequence for part in get_args(kind))
    parser, metavar = (text, "TEXTS" if is_list else "TEXT") if is_text else (literal, "VALUE")
    return Annotated[Any, typer.Option(f"--{name}", *short, help=help, metavar=metavar, parser=parser)]
