"""Reading a bundle's training config as text: macros and references are followed, no expression is evaluated."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import merge_kv
from monai.utils import CommonKeys

from monai_ima.utils.errors import one_line

__all__ = [
    "Component",
    "TrainingConfig",
    "inner_items",
    "merged_config",
    "read_training_config",
    "readable",
    "reference",
    "target_name",
]

SEPARATOR = ReferenceResolver.sep
SUFFIXES = ("json", "yaml", "yml")
REFERENCE = re.compile(r"\$?\s*@((?:\w+)(?:::\w+)*)\s*")
COMMON_KEY = re.compile(r"\$\s*(?:monai\.utils\.)?(?:enums\.)?CommonKeys\.(\w+)\s*")
ENTRY = re.compile(r"\$\s*@(\w+(?:::\w+)*)\[(\d+)\]\s*")
LENGTH = re.compile(r"\$\s*len\(@(\w+(?:::\w+)*)\)\s*")


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
        return target_name(self.config)


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
        missing = object()
        return self.get(path, missing) is not missing

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
        missing = object()
        value = self._plain(path, missing) if path in self else missing
        return default if value is missing else value

    def _plain(self, path: str, missing: object) -> Any:
        path, value = self.follow(path)
        if isinstance(value, dict):
            if "_target_" in value:
                return missing
            items = {key: self._plain(f"{path}{SEPARATOR}{key}", missing) for key in value}
            return missing if any(item is missing for item in items.values()) else items
        if isinstance(value, list):
            parts = [self._plain(f"{path}{SEPARATOR}{k}", missing) for k in range(len(value))]
            return missing if any(part is missing for part in parts) else parts
        return self._known_form(value, missing) if isinstance(value, str) and value.startswith("$") else value

    def _known_form(self, expression: str, missing: object) -> Any:
        """The value of an expression of one of three forms that are read as text: a common key, an entry, a length."""
        key, entry, length = (form.fullmatch(expression) for form in (COMMON_KEY, ENTRY, LENGTH))
        if key is not None and key[1] in CommonKeys.__members__:
            return str(CommonKeys[key[1]].value)
        counted = self.value(length[1]) if length is not None and length[1] in self else None
        if isinstance(counted, (list, dict)):
            return len(counted)
        container = self.value(entry[1]) if entry is not None and entry[1] in self else None
        if entry is not None and isinstance(container, list) and int(entry[2]) < len(container):
            return container[int(entry[2])]
        return missing

    def component(self, path: str) -> Component | None:
        """The component that an id ends at, through references; None when there is none or it is disabled."""
        if path not in self:
            return None
        path, value = self.follow(path)
        return Component(path, value) if _is_component(value) else None

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
            elif isinstance(value, dict):
                waiting.extend(f"{here}{SEPARATOR}{key}" for key in reversed(value))
            elif isinstance(value, list):
                waiting.extend(f"{here}{SEPARATOR}{k}" for k in reversed(range(len(value))))

    def components(self, path: str) -> Iterator[Component]:
        """The components among :meth:`reachable` that are not disabled for good."""
        for here, value in self.reachable(path):
            if _is_component(value):
                yield Component(here, value)

    def everything(self) -> Iterator[Component]:
        """All components of the config, referred to or not."""

        def walk(here: str, value: Any) -> Iterator[Component]:
            if _is_component(value):
                yield Component(here, value)
            for key, inner in inner_items(value):
                yield from walk(f"{here}{SEPARATOR}{key}" if here else str(key), inner)

        yield from walk("", {key: value for key, value in self.content.items() if key != ConfigParser.meta_key})

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


def read_training_config(bundle: str | Path, config: str | Sequence[str] | None = None) -> TrainingConfig:
    """Read a bundle's training config; nothing in it is evaluated or imported.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas; None means ``train.json`` or ``train.yaml``.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if a file cannot be parsed, or a macro leads nowhere.
    """
    root = Path(bundle)
    files, parser = merged_config(root, config)
    content = parser.get()
    try:
        with contextlib.chdir(root):
            parser.resolve_macro_and_relative_ids()
    except (KeyError, ValueError, OSError, IndexError) as error:
        reason = error.args[0] if error.args else error
        raise ValueError(f"A macro (%) in {files[-1]} leads nowhere: {reason}; expected an id or a file.") from error
    candidates = [root / "configs" / f"metadata.{suffix}" for suffix in SUFFIXES]
    metadata = next((_read(file) for file in candidates if file.is_file()), {})
    return TrainingConfig(root, files, content, metadata)


def merged_config(bundle: str | Path, config: str | Sequence[str] | None) -> tuple[list[Path], ConfigParser]:
    """A bundle's config files and their merged content, macros not resolved.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas; None means ``train.json`` or ``train.yaml``.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if a file cannot be parsed.
    """
    folder = Path(bundle) / "configs"
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {bundle} is no MONAI bundle, expected a folder 'configs' in it.")
    names = config.split(",") if isinstance(config, str) else _default(folder) if config is None else config
    files = [folder / str(name).strip() for name in names]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"Config {file} does not exist, expected it in the bundle.")
    parser = ConfigParser({})
    for file in files:
        _load(file, parser)
    return files, parser


def inner_items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and contents of a dictionary, or positions and contents of a list; nothing of other values."""
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()


def reference(value: Any) -> str | None:
    """The id that a value is a plain reference to (``@id`` or ``$@id``); None when it is something else."""
    match = REFERENCE.fullmatch(ReferenceResolver.normalize_id(value)) if isinstance(value, str) else None
    return match[1] if match else None


def target_name(config: dict[str, Any]) -> str:
    """The last part of a component's ``_target_``."""
    return str(config["_target_"]).rsplit(".", 1)[-1]


def readable(path: str) -> str:
    """An id with ``#``, as bundles write it."""
    return path.replace(SEPARATOR, "#")


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value and str(value.get("_disabled_")).strip().lower() != "true"


def _default(folder: Path) -> list[str]:
    names = [f"train.{suffix}" for suffix in SUFFIXES if (folder / f"train.{suffix}").is_file()]
    if not names:
        raise FileNotFoundError(
            f"Folder {folder} holds no training config, expected train.json or train.yaml, or its name as --config."
        )
    return names[:1]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = ConfigParser.load_config_file(file)
    except Exception as error:
        raise ValueError(f"Config {file} cannot be read, expected JSON or YAML: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Config {file} holds {type(content).__name__}, expected a dictionary.")
    return content


def _load(file: Path, parser: ConfigParser) -> None:
    for key, value in _read(file).items():
        try:
            merge_kv(parser, key, value)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise ValueError(f"Key {key!r} of {file} cannot be merged, expected the id of an existing part.") from error
