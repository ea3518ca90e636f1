"""What a config builds or names, in components and in expressions alike; nothing is evaluated."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import monai.losses
import monai.transforms

from .reading import SEPARATOR, Component, TrainingConfig

__all__ = ["UNREAD", "Built", "built", "named"]

UNREAD = object()
"""An argument that is given and cannot be read."""
REFERRED = re.compile(r"@(\w+(?:::\w+)*)")
REFERENCES = "_references"
"""Whose entries stand for what an expression refers to while it is parsed."""


@dataclass(frozen=True)
class Built:
    """A part that a config builds, or a function that it names.

    Attributes:
        target: such as ``monai.losses.DiceLoss`` or ``torch.sigmoid``.
        arguments: by name, also those that were given by position to a loss or transform of MONAI;
            :data:`UNREAD` for one that cannot be read.
    """

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its target."""
        return self.target.rsplit(".", 1)[-1]

    def flag(self, name: str) -> bool:
        """An argument is given and true, or true for some key."""
        value = self.arguments.get(name)
        return value is not UNREAD and (any(value) if isinstance(value, list) else bool(value))

    @property
    def keys(self) -> list[str]:
        """The keys of a transform; none where they are not given or cannot be read."""
        keys = self.arguments.get("keys")
        return [keys] if isinstance(keys, str) else keys if isinstance(keys, list) else []


def built(config: TrainingConfig, path: str | None, without: str | None = None) -> Iterator[list[Built]]:
    """What is built at an id and below, and at all ids that are referred to: a list for each component or expression.

    Args:
        config: the config.
        path: the id; nothing where there is none.
        without: a transform that acts on this key alone is left out, with what is below it.

    Raises:
        ValueError: if a reference leads nowhere.
    """
    left_out: list[str] = []
    alive = {component.id for component in config.components(path)} if path is not None and path in config else set()
    for here, value in config.reachable(path) if path is not None and path in config else ():
        if any(here.startswith(f"{outer}{SEPARATOR}") for outer in left_out):
            continue
        if isinstance(value, str) and value.startswith("$"):
            yield list(_in_expression(config, value, without))
        elif here in alive:
            part = _of_component(config, Component(here, value))
            if without is not None and part.keys == [without]:
                left_out.append(here)
            else:
                yield [part]


def named(config: TrainingConfig, path: str | None, words: tuple[str, ...]) -> bool:
    """Something that is built at an id, or below it, has one of the words in its name."""
    return any(word in part.name for parts in built(config, path) for part in parts for word in words)


def _of_component(config: TrainingConfig, component: Component) -> Built:
    arguments = {name: value for name, value in component.config.items() if not name.startswith("_")}
    read = {name: config.argument(component, name, UNREAD) for name in arguments}
    for name, value in read.items():
        raw = arguments[name]
        if value is UNREAD and isinstance(raw, str) and raw.startswith("$"):
            read[name] = next((_value(config, node) for node in _parsed(raw)), UNREAD)
    return Built(str(component.config["_target_"]), read)


def _in_expression(config: TrainingConfig, expression: str, without: str | None) -> Iterator[Built]:
    waiting: list[ast.AST] = list(_parsed(expression))
    while waiting:
        node = waiting.pop(0)
        inner = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            part = _of_call(config, node, node.func)
            if without is not None and part.keys == [without]:
                continue
            yield part
            inner = [inner_node for inner_node in inner if inner_node is not node.func]
            inner += [node.func.value] if isinstance(node.func, ast.Attribute) else []
        elif isinstance(node, ast.Attribute):
            yield Built(_dotted(node))
        elif isinstance(node, ast.Name):
            yield Built(node.id)
        waiting = inner + waiting


def _parsed(expression: str) -> Iterator[ast.expr]:
    """The tree of an expression; none of a statement."""
    text = REFERRED.sub(lambda match: f"{REFERENCES}[{match[1]!r}]", expression.removeprefix("$").strip())
    try:
        yield ast.parse(text, mode="eval").body
    except SyntaxError:
        return


def _of_call(config: TrainingConfig, call: ast.Call, function: ast.Name | ast.Attribute) -> Built:
    target = _dotted(function)
    name = target.rsplit(".", 1)[-1]
    known = getattr(monai.losses, name, None) or getattr(monai.transforms, name, None)
    names = list(inspect.signature(known).parameters) if callable(known) else []
    positional = dict(zip(names, call.args, strict=False))
    given = positional | {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    return Built(target, {argument: _value(config, node) for argument, node in given.items()})


def _dotted(node: ast.Name | ast.Attribute) -> str:
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else ""
    return f"{inner}.{node.attr}"


def _value(config: TrainingConfig, node: ast.expr) -> Any:
    """A literal, or what an id holds; :data:`UNREAD` otherwise."""
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value = _value(config, operand)
            return value if value is UNREAD else not value
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(path))) if name == REFERENCES:
            return config.value(path, UNREAD)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            values = [_value(config, element) for element in elements]
            return UNREAD if UNREAD in values else values
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNREAD
