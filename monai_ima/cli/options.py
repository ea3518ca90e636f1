"""Options of the verbs, declared once: as fields of a settings class or parameters of a function, with their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from .arguments import further_options, literal, text

__all__ = ["BundleOptions", "verb_command"]


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """What the verbs that run a bundle have in common."""

    bundle: Annotated[str, "Folder of the bundle."]
    norm: Annotated[str, "l2 or linf."] = "linf"
    checkpoint: Annotated[str | None, "Weights; default: the config's ckpt_path, else BUNDLE/models/model.pt."] = None
    config: Annotated[str, "File name(s) in BUNDLE/configs, several separated by commas."] = "evaluate.json"
    seed: Annotated[int, "Of the random starts."] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ValueError(f"Got seed {self.seed!r}, expected an integer.")


def verb_command(verb: Callable[..., None], settings: Callable[..., Any] | None) -> Callable[..., Callable[[], None]]:
    """The command that typer parses a verb's options with; it returns the call that does the work.

    Args:
        verb: is called with the settings and the further options of the command line; without a settings class with
            its own parameters.
        settings: what the options are made of: those annotated as ``Annotated[type, "help"]`` are options.
    """
    source: Callable[..., Any] = settings or verb
    hints = get_type_hints(source, include_extras=True)
    parameters = [p for p in inspect.signature(source).parameters.values() if get_origin(hints[p.name]) is Annotated]
    annotations = {p.name: _option(p.name, *get_args(hints[p.name])) for p in parameters}

    def parse(context: typer.Context, **options: Any) -> Callable[[], None]:
        if settings is None:
            return partial(verb, **options)
        return partial(verb, settings(**options), further_options(context.args))

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = sorted(parameters, key=lambda p: p.default is not p.empty)
    declared = [p.replace(annotation=annotations[p.name], kind=p.KEYWORD_ONLY) for p in parameters]
    parse.__signature__ = inspect.Signature([context, *declared])  # type: ignore[attr-defined]
    parse.__annotations__ = {"context": typer.Context, **annotations}
    parse.__name__, parse.__doc__ = verb.__name__, verb.__doc__
    return parse


def _option(name: str, kind: Any, help: str) -> Any:
    """Text stays as it is, flags take no value, anything else is parsed as a literal; the settings validate it."""
    if kind is bool:
        return Annotated[bool, typer.Option(f"--{name}", help=help)]
    if kind == bool | None:
        return Annotated[bool | None, typer.Option(f"--{name}/--no_{name}", help=help)]
    is_text = str in (kind, *get_args(kind)) and float not in get_args(kind)
    parser, metavar = (text, "TEXT") if is_text else (literal, "VALUE")
    return Annotated[Any, typer.Option(f"--{name}", help=help, metavar=metavar, parser=parser)]
