"""The ids of a bundle's config that a command line may set."""

from __future__ import annotations

import importlib
import inspect
import pydoc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent

from .reading import contents, merged_config, readable

__all__ = ["ConfigIds"]


class ConfigIds:
    """The ids that a config has, nested ones as ``network_def#channels``, and further arguments of its components.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if a file cannot be parsed.
    """

    def __init__(self, bundle: str | Path, config: str) -> None:
        self.contents = {readable(path): part for path, part in contents(merged_config(bundle, config)[1].get())}
        self.contents.pop("bundle_root", None)

    def find(self, name: str) -> str | None:
        """The id that an option's name means, hyphens standing for underscores where need be; None: there is none."""
        for candidate in (readable(name), readable(name).replace("-", "_")):
            parent, _, argument = candidate.rpartition("#")
            arguments = self._arguments(parent)
            if candidate in self.contents or arguments is None or argument in arguments:
                return candidate
        return None

    def near(self, name: str) -> Iterable[str]:
        """Ids among which the one that a name was meant for should be."""
        parent = readable(name).rpartition("#")[0]
        return [*self.contents, *(f"{parent}#{argument}" for argument in self._arguments(parent) or ())]

    def _arguments(self, component: str) -> set[str] | None:
        """What a component's target takes; None: anything, as far as is known. Other parts of a config take nothing."""
        content = self.contents.get(component)
        if not isinstance(content, dict) or "_target_" not in content:
            return set()
        target = _located(str(content["_target_"]))
        try:
            parameters = inspect.signature(target).parameters if callable(target) else None
        except (TypeError, ValueError):
            return None
        if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return None
        return {*parameters, *ConfigComponent.non_arg_keys}


def _located(target: str) -> Any:
    """The class or function that a ``_target_`` names; None where it cannot be imported."""
    modules = ComponentLocator().get_component_module_name(target)
    module = modules[0] if isinstance(modules, list) and modules else modules
    try:
        return getattr(importlib.import_module(str(module)), target) if module else pydoc.locate(target)
    except (ImportError, AttributeError, pydoc.ErrorDuringImport):
        return None
