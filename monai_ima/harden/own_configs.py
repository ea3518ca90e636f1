"""The bundle's own evaluation and inference with hardened weights: the lines that run them, found by reading."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ReferenceResolver

from .parts import evaluators_of, run_id_of
from .reading import (
    SEPARATOR,
    SUFFIXES,
    Component,
    TrainingConfig,
    components_of,
    contents,
    evaluation_files,
    merged_config,
    readable,
)

__all__ = ["bundle_line", "own_lines", "shell_word"]

ID = re.compile(r"@(\w+(?:::\w+)*)")
PLAIN_ID = re.compile(r"[\w-][\w#./:-]*")
PLAIN_NAME = re.compile(r"[\w./-]+")
"""What a shell takes as it is."""
NAME, BETWEEN = "id_at_", "_at_"
"""``@a::b`` is the name ``id_at_a_at_b`` in an expression that is parsed."""
EMPTY = ast.Constant(None)


def bundle_line(root: Path, files: Sequence[str], run_id: str = "run", start: str = "python") -> str:
    """A line that runs config files of a bundle.

    Args:
        root: the bundle's folder.
        files: names in ``configs``.
        run_id: id of the expressions to run.
        start: what runs Python.
    """
    run = "" if run_id == "run" else f" {shell_word(run_id)}"
    folder = shell_word(str(root.resolve()))
    return f"cd {folder} && {start} -m monai.bundle run{run} --config_file {_listed(files)} --bundle_root ."


def shell_word(text: str) -> str:
    """A text as one word of a shell; ids of a config, which may hold ``#``, stay as they are."""
    return text if PLAIN_ID.fullmatch(text) else shlex.quote(text)


def _listed(files: Sequence[str]) -> str:
    """Config files as the list that MONAI takes, in quotes that suit the shell, and of plain names also Windows'."""
    if all(PLAIN_NAME.fullmatch(name) for name in files):
        return '"[' + ",".join(f"'configs/{name}'" for name in files) + ']"'
    return shlex.quote(json.dumps([f"configs/{name}" for name in files], ensure_ascii=False))


def own_lines(root: Path, training: Sequence[str], weights: str, flat: bool) -> list[str]:
    """What runs a bundle's own ``evaluate`` and ``inference`` configs with other weights; nothing is evaluated.

    Args:
        root: the bundle's folder.
        training: names of the config files that train.
        weights: the checkpoint, relative to the folder.
        flat: it holds the network's weights alone, else these under ``model`` beside other things.

    Returns:
        for each of the two that the bundle has a heading and the line, or one sentence that says why there is none.
    """
    lines = []
    for what in ("evaluate", "inference"):
        names = [f"{what}.{suffix}" for suffix in SUFFIXES if (root / "configs" / f"{what}.{suffix}").is_file()]
        if names:
            about = f"The bundle's own configs/{names[0]} with these weights"
            try:
                files = evaluation_files(root, training=training) if what == "evaluate" else names[:1]
                lines += [f"{about}:", _line(root, files, weights, flat)]
            except (ValueError, OSError) as error:
                lines.append(f"{about}: no line can be given. {error}")
    return lines


def _line(root: Path, files: Sequence[str], weights: str, flat: bool) -> str:
    """The line that runs these config files with other weights.

    Raises:
        ValueError: if it cannot be found by reading where they load weights from, or they do not load such weights.
    """
    paths, parser = merged_config(root, files)
    config = TrainingConfig(root, paths, parser.get())
    evaluators = evaluators_of(config)
    run_id = run_id_of(config, evaluators[0].id if len(evaluators) == 1 else "evaluator")
    run = {
        path: value for start in ("initialize", run_id) if start in config for path, value in config.reachable(start)
    }
    found = _loaded(config, run, flat) or _loaded(config, dict(contents(config.content)), flat)
    if len(found) != 1:
        several = f" (found {', '.join(map(readable, found))})" if found else ""
        raise ValueError(
            f"Where {files[-1]} loads the network's weights from cannot be found by reading{several}, expected one "
            f"path in a CheckpointLoader or torch.load: override what loads them with {weights}."
        )
    ((path, fits),) = found.items()
    if not fits:
        holds = "alone" if flat else "under 'model'"
        raise ValueError(
            f"{files[-1]} loads something else from {readable(path)}, {weights} holds the network's weights {holds}: "
            f"override what is loaded, and {readable(path)} with {weights}."
        )
    return f"{bundle_line(root, files, run_id)} {shell_word(f'--{readable(path)}')} {shell_word(weights)}"


def _loaded(config: TrainingConfig, parts: Mapping[str, Any], flat: bool) -> dict[str, bool]:
    """The paths that parts of a config load from: their ids, and whether they take such weights."""
    return dict([*_by_loaders(config, parts, flat), *_by_expressions(config, parts, flat)])


def _by_loaders(config: TrainingConfig, parts: Mapping[str, Any], flat: bool) -> Iterator[tuple[str, bool]]:
    """What MONAI's CheckpointLoaders load: one that loads a single object takes flat weights, too."""
    for loader in components_of(parts.items()):
        if loader.name == "CheckpointLoader" and loader.at("load_path") in config:
            yield config.follow(loader.at("load_path"))[0], _takes(config, loader, flat)


def _takes(config: TrainingConfig, loader: Component, flat: bool) -> bool:
    path = loader.at("load_dict")
    loads = config.follow(path)[1] if path in config else None
    return isinstance(loads, dict) and len(loads) == 1 and (flat or "model" in loads)


def _by_expressions(config: TrainingConfig, parts: Mapping[str, Any], flat: bool) -> Iterator[tuple[str, bool]]:
    """What expressions load: ``load_state_dict(torch.load(@path))``, in one step or two, whole or an entry of it."""
    for value in parts.values():
        for call in ast.walk(_parsed(value)):
            if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).endswith(".load_state_dict"):
                source, keys = _entry(call.args[0])
                if isinstance(source, ast.Name):
                    source, above = _entry(_parsed(_content(config, source)))
                    keys = above + keys
                path = _loaded_path(source)
                if path in config:
                    yield config.follow(path)[0], keys == ("" if flat else "['model']")


def _entry(node: ast.AST) -> tuple[ast.AST, str]:
    """What an entry is taken from, and which: ``torch.load(x)['model']`` is ``['model']`` of ``torch.load(x)``."""
    if isinstance(node, ast.Subscript):
        source, keys = _entry(node.value)
        return source, f"{keys}[{ast.unparse(node.slice)}]"
    return node, ""


def _loaded_path(node: ast.AST) -> str:
    """The id in ``torch.load(@id)``; an empty text where it is something else."""
    call = isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    path = node.args[0] if call and isinstance(node, ast.Call) and node.args else None
    return _id(path) if isinstance(path, ast.Name) else ""


def _content(config: TrainingConfig, name: ast.Name) -> object:
    return config.follow(_id(name))[1] if _id(name) in config else None


def _parsed(value: object) -> ast.AST:
    """An expression as a tree, ids as names; an empty one of anything else."""
    text = ReferenceResolver.normalize_id(value) if isinstance(value, str) else ""
    try:
        return ast.parse(ID.sub(_as_name, text[1:].strip()), mode="eval").body if text.startswith("$") else EMPTY
    except SyntaxError:
        return EMPTY


def _as_name(reference: re.Match[str]) -> str:
    return NAME + reference[1].replace(SEPARATOR, BETWEEN)


def _id(name: ast.Name) -> str:
    return name.id.removeprefix(NAME).replace(BETWEEN, SEPARATOR) if name.id.startswith(NAME) else ""
