"""What a bundle's code does, as far as its source says, which is parsed and never run."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import monai
import monai.engines
from monai.bundle import ComponentLocator

__all__ = ["ends_in_own_iteration", "is_supervised"]


def is_supervised(root: Path, target: str) -> bool:
    """A trainer's class is MONAI's SupervisedTrainer or derived from it.

    Args:
        root: the bundle's folder; classes of other packages than MONAI that are not in it are taken to be.
        target: the class, as ``_target_`` names it.
    """
    module, _, name = target.rpartition(".")
    if module.split(".")[0] in ("", "monai"):
        found = getattr(monai.engines, name, None)
        return inspect.isclass(found) and issubclass(found, monai.engines.SupervisedTrainer)
    file = _file(root, module)
    for node in _nodes(file):
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
            return "SupervisedTrainer" in bases or any(is_supervised(root, f"{module}.{base}") for base in bases)
        if imported := _imported(node, name, module, file):
            return is_supervised(root, imported)
    return file is None


def ends_in_own_iteration(root: Path, target: str) -> bool:
    """Whatever a replacement of an engine's iteration does before, it returns ``engine._iteration(engine, ...)``.

    So do the interactions of MONAI's DeepEdit and DeepGrow.

    Args:
        root: the bundle's folder.
        target: a class with ``__call__`` or a function, as ``_target_`` names it; one of another package than MONAI
            that is not in the folder does not, as far as is known.
    """
    module, _, name = target.rpartition(".")
    if not module:
        located = ComponentLocator().get_component_module_name(name) or []
        modules = [located] if isinstance(located, str) else located
        return bool(modules) and all(ends_in_own_iteration(root, f"{module}.{name}") for module in modules)
    file = _file(Path(monai.__file__).parents[1] if module.split(".")[0] == "monai" else root, module)
    for node in _nodes(file):
        if isinstance(node, ast.ClassDef) and node.name == name:
            calls = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__call__"]
            bases = [ast.unparse(base) for base in node.bases]
            inherited = any(ends_in_own_iteration(root, f"{module}.{base}") for base in bases)
            return _returns_iteration(calls[0], 1) if calls else inherited
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _returns_iteration(node, 0)
        if imported := _imported(node, name, module, file):
            return ends_in_own_iteration(root, imported)
    return False


def _returns_iteration(function: ast.FunctionDef, position: int) -> bool:
    """All that a function returns is the iteration of the engine, its argument at this position."""
    names = [argument.arg for argument in function.args.args][position : position + 1]
    start = tuple(f"return {name}._iteration({name}," for name in names)
    returned = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Return)]
    return bool(returned) and all(statement.startswith(start) for statement in returned)


def _file(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _nodes(file: Path | None) -> Iterator[ast.AST]:
    return iter(()) if file is None else ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def _imported(node: ast.AST, name: str, module: str, file: Path | None) -> str | None:
    """What a name stands for that a statement imports, as ``_target_`` would name it; None where it does not."""
    names = [alias.name for alias in getattr(node, "names", []) if name in (alias.name, alias.asname)]
    if file is None or not isinstance(node, ast.ImportFrom) or not names:
        return None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return f"{package if node.level else ''}.{node.module}.{names[0]}".strip(".")
