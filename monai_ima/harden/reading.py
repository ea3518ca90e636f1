"""Reading a bundle's training config as text: macros and references are followed, no expression is evaluated."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import merge_kv
from monai.utils import CommonKeys

from .config_files import read_config

__all__ = [
    "Component",
    "TrainingConfig",
    "contents",
    "evaluation_files",
    "merged_config",
    "read_training_config",
    "readable",
    "reference",
]

SEPARATOR = ReferenceResolver.sep
SUFFIXES = ("json", "yaml", "yml")
REFERENCE = re.compile(r"\$?\s*@((?:\w+)(?:::\w+)*)\s*")
COMMON_KEY = re.compile(r"\$\s*(?:monai\.utils\.)?(?:enums\.)?CommonKeys\.(\w+)\s*")
ENTRY = re.compile(r"\$\s*@(\w+(?:::\w+)*)\[(\d+)\]\s*")
LENGTH = re.compile(r"\$\s*len\(@(\w+(?:::\w+)*)\)\s*")
MISSING = object()
"""In place of a value that is not there, or that needs an expression."""


@dataclass(frozen=True)
class Component:
    """A part of a config that has a ``_target_``.

    Attributes:
        id: where it is, such as ``train::trainer``.
        config: its content.
    """

    id: str
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The last part of its ``_target_``, such as ``SupervisedTrainer``."""
        return str(self.config["_target_"]).rsplit(".", 1)[-1]

    def at(self, argument: str) -> str:
        """The id of an argument."""
        return f"{self.id}{SEPARATOR}{argument}"


@dataclass(frozen=True)
class TrainingConfig:
    """A bundle's training config, not evaluated.

    Attributes:
        root: the bundle's folder.
        files: its config files, in the order they are merged in.
        content: the merged config, macros and relative ids resolved.
        metadata: the bundle's metadata, ``{}`` when it has none.
    """

    root: Path
    files: list[Path]
    content: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        """The raw content at an id; ``default`` when there is none."""
        node: Any = self.content
        for key in ReferenceResolver.split_id(path):
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                return default
        return node

    def __contains__(self, path: str) -> bool:
        return self.get(path, MISSING) is not MISSING

    def follow(self, path: str) -> tuple[str, Any]:
        """Id and content that an id ends at when plain references (``@id``, ``$@id``) are followed.

        Raises:
            ValueError: if a reference leads nowhere, or in a circle.
        """
        seen = []
        while True:
            if path in seen:
                raise ValueError(f"Reference @{readable(path)} in {self.files[-1]} refers to itself, expected a value.")
            seen.append(path)
            if path not in self:
                raise self.broken(path)
            value = self.get(path)
            inner = reference(value)
            if inner is None:
                return path, value
            path = inner

    def value(self, path: str, default: Any = None) -> Any:
        """The plain value at an id, references followed; ``default`` where it is missing or needs an expression."""
        value = self._plain(path) if path in self else MISSING
        return default if value is MISSING else value

    def _plain(self, path: str) -> Any:
        path, value = self.follow(path)
        if isinstance(value, str):
            return self._known_form(value) if value.startswith("$") else value
        if not isinstance(value, (dict, list)):
            return value
        if isinstance(value, dict) and "_target_" in value:
            return MISSING
        parts = {key: self._plain(f"{path}{SEPARATOR}{key}") for key, _ in _inner(value)}
        if any(part is MISSING for part in parts.values()):
            return MISSING
        return parts if isinstance(value, dict) else list(parts.values())

    def _known_form(self, expression: str) -> Any:
        """The value of an expression of one of three forms that are read as text: a common key, an entry, a length."""
        key, entry, length = (form.fullmatch(expression) for form in (COMMON_KEY, ENTRY, LENGTH))
        if key is not None and key[1] in CommonKeys.__members__:
            return str(CommonKeys[key[1]].value)
        if length is not None:
            counted = self.value(length[1])
            return len(counted) if isinstance(counted, (list, dict)) else MISSING
        container = self.value(entry[1]) if entry is not None else None
        if entry is not None and isinstance(container, list) and int(entry[2]) < len(container):
            return container[int(entry[2])]
        return MISSING

    def argument(self, component: Component, name: str, default: Any = None) -> Any:
        """The plain value of a component's argument, as :meth:`value` gives it."""
        return self.value(component.at(name), default)

    def keys(self, transform: Component) -> list[str]:
        """The keys that a transform acts on; none where they are not given or need an expression."""
        keys = self.argument(transform, "keys", [])
        return [keys] if isinstance(keys, str) else keys or []

    def component(self, path: str) -> Component | None:
        """The component that an id ends at, through references; None when there is none or it is disabled."""
        if path not in self:
            return None
        path, value = self.follow(path)
        return Component(path, value) if _is_component(value) else None

    def inner(self, component: Component | None, name: str) -> Component | None:
        """The component that is an argument of another one; None when either is none."""
        return None if component is None else self.component(component.at(name))

    def reachable(self, path: str) -> Iterator[tuple[str, Any]]:
        """Ids and contents below an id and of everything that they refer to, expressions included, each once.

        Raises:
            ValueError: if a reference leads nowhere.
        """
        waiting, seen = [path], set()
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if here not in self:
                raise self.broken(here)
            value = self.get(here)
            yield here, value
            if isinstance(value, str):
                waiting.extend(reversed(ReferenceResolver.match_refs_pattern(value)))
            waiting.extend(reversed([f"{here}{SEPARATOR}{key}" for key, _ in _inner(value)]))

    def components(self, path: str) -> Iterator[Component]:
        """The components among :meth:`reachable` that are not disabled for good."""
        return components_of(self.reachable(path))

    def everything(self) -> Iterator[Component]:
        """All components of the config, referred to or not."""
        return components_of(contents({k: value for k, value in self.content.items() if k != ConfigParser.meta_key}))

    def described(self, side: str, name: str) -> dict[str, Any]:
        """What the metadata's network_data_format say of an input or output; ``{}`` where they say nothing.

        Args:
            side: ``"inputs"`` or ``"outputs"``.
            name: such as ``"image"`` or ``"pred"``; where there is none of that name the first counts.
        """
        described = self.metadata.get("network_data_format")
        parts = described.get(side) if isinstance(described, dict) else None
        if not isinstance(parts, dict) or not parts:
            return {}
        part = parts.get(name, next(iter(parts.values())))
        return part if isinstance(part, dict) else {}

    def broken(self, path: str) -> ValueError:
        """The error for a reference that leads nowhere."""
        names = ", ".join(str(file) for file in self.files)
        return ValueError(
            f"Reference @{readable(path)} in {names} leads nowhere, expected an id of the config; several files are "
            "given as --config common.yaml,train.yaml."
        )


def read_training_config(
    bundle: str | Path, config: str | Sequence[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """Read a bundle's training config; nothing in it is evaluated or imported.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas; None means ``train.json`` or ``train.yaml``.
        overrides: values of ids, such as ``train#trainer#max_epochs``; those of ids that the config lacks are left out.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if a file cannot be parsed, or a macro leads nowhere.
    """
    root = Path(bundle)
    files, parser = merged_config(root, config)
    for path, value in (overrides or {}).items():
        with contextlib.suppress(KeyError, IndexError, ValueError, TypeError):
            _ = parser[path]
            parser[path] = value
    content = parser.get()
    try:
        with contextlib.chdir(root):
            parser.resolve_macro_and_relative_ids()
    except (KeyError, ValueError, OSError, IndexError) as error:
        reason = error.args[0] if error.args else error
        raise ValueError(f"A macro (%) in {files[-1]} leads nowhere: {reason}; expected an id or a file.") from error
    candidates = [root / "configs" / f"metadata.{suffix}" for suffix in SUFFIXES]
    metadata = next((read_config(file) for file in candidates if file.is_file()), {})
    return TrainingConfig(root, files, content, metadata)


def merged_config(bundle: str | Path, config: str | Sequence[str] | None) -> tuple[list[Path], ConfigParser]:
    """A bundle's config files and their merged content, macros not resolved.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas; None means ``train.json`` or ``train.yaml``.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if no file is named, or one cannot be parsed.
    """
    folder = Path(bundle) / "configs"
    if not folder.parent.exists():
        raise FileNotFoundError(f"Folder {bundle} does not exist, expected that of a MONAI bundle.")
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {bundle} is no MONAI bundle, expected a folder 'configs' in it.")
    names = config.split(",") if isinstance(config, str) else _default(folder) if config is None else config
    files = [folder / str(name).strip() for name in names]
    if not files:
        raise ValueError(f"Got config {config!r}, expected the name of at least one file in {folder}.")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"Config {file} does not exist, expected it in the bundle.")
    parser = ConfigParser({})
    for file in files:
        for key, value in read_config(file).items():
            try:
                merge_kv(parser, key, value)
            except (KeyError, ValueError, IndexError, TypeError) as error:
                raise ValueError(
                    f"Key {key!r} of {file} cannot be merged, expected the id of an existing part."
                ) from error
    return files, parser


def evaluation_files(bundle: str | Path, config: str | None = None, training: Sequence[str] | None = None) -> list[str]:
    """The names of the config files that an evaluation is made from.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas. None means ``evaluate.json`` or
            ``evaluate.yaml``, behind the training config where it only changes parts of that; without such a file the
            training config alone.
        training: names of the training's config files; None means ``train.json`` or ``train.yaml``.

    Raises:
        FileNotFoundError: if the folder is no bundle, or has neither.
    """
    if config is not None:
        return [name.strip() for name in str(config).split(",")]
    folder = Path(bundle) / "configs"
    found = [f"evaluate.{suffix}" for suffix in SUFFIXES if (folder / f"evaluate.{suffix}").is_file()][:1]
    if found:
        content = read_config(folder / found[0])
        heads = {str(key).replace("::", "#").split("#")[0] for key in content}
        if heads <= set(content) and {"evaluator", "validate"} & set(content):
            return found
    return [*(file.name for file in merged_config(bundle, training)[0]), *found]


def contents(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Ids and contents of everything in a config, what is in a part behind the part itself."""
    for key, inner in _inner(content):
        yield f"{prefix}{key}", inner
        yield from contents(inner, f"{prefix}{key}{SEPARATOR}")


def reference(value: Any) -> str | None:
    """The id that a value is a plain reference to (``@id`` or ``$@id``); None when it is something else."""
    match = REFERENCE.fullmatch(ReferenceResolver.normalize_id(value)) if isinstance(value, str) else None
    return match[1] if match else None


def readable(path: str) -> str:
    """An id with ``#``, as bundles write it."""
    return path.replace(SEPARATOR, "#")


def _inner(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and contents of a dictionary, or positions and contents of a list; nothing of other values."""
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()


def components_of(parts: Iterable[tuple[str, Any]]) -> Iterator[Component]:
    """The components among ids and contents that are not disabled for good."""
    return (Component(path, value) for path, value in parts if _is_component(value))


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value and str(value.get("_disabled_")).strip().lower() != "true"


def _default(folder: Path) -> list[str]:
    names = [f"train.{suffix}" for suffix in SUFFIXES if (folder / f"train.{suffix}").is_file()]
    if not names:
        others = sorted(file.name for file in folder.glob("*train*") if file.suffix[1:] in SUFFIXES)
        found = f" ({', '.join(others)})" if others else ""
        raise FileNotFoundError(
            f"Folder {folder} holds no train.json or train.yaml, expected it, or another training config{found} as "
            "--config."
        )
    return names[:1]
