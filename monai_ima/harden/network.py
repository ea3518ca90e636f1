"""Building a bundle's network where that runs no code but MONAI's."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent
from torch import nn

from monai_ima.utils.errors import one_line, root_cause

from .parts import Parts
from .reading import MISSING, Component, readable

__all__ = ["build_network"]


def build_network(parts: Parts) -> nn.Module | None:
    """The network, where it is one of MONAI's own classes with plain arguments.

    Returns:
        The network with random weights; None where an expression, other code or a download makes it.

    Raises:
        ValueError: if the class refuses the arguments, or a package that it needs is missing.
    """
    component = parts.network
    network_class = None if component is None else _monai_class(component)
    if component is None or network_class is None:
        return None
    names = component.config.keys() - ConfigComponent.non_arg_keys
    arguments = {name: parts.config.argument(component, name, MISSING) for name in names}
    if any(value is MISSING for value in arguments.values()) or _downloads(network_class, arguments):
        return None
    target = str(component.config["_target_"])
    try:
        with torch.random.fork_rng(devices=[]):
            return ConfigComponent({"_target_": target, **arguments}).instantiate()  # type: ignore[return-value]
    except Exception as error:
        reason = one_line(root_cause(error)).rstrip(".")
        if missing := re.search(r"No module named '([\w.]+)'", reason):
            raise ValueError(
                f"Network {readable(component.id)!r} ({target}) needs the package {missing[1]}, expected it to be "
                "installed."
            ) from None
        raise ValueError(
            f"Network {readable(component.id)!r} ({target}) cannot be built from its arguments, expected a valid "
            f"config: {reason}."
        ) from None


def _monai_class(component: Component) -> type | None:
    """The class in ``monai.networks`` that the target names."""
    located = ComponentLocator().get_component_module_name(component.name)
    modules = [located] if isinstance(located, str) else located or []
    target = str(component.config["_target_"])
    for module in modules:
        spellings = (component.name, f"{module}.{component.name}", f"monai.networks.nets.{component.name}")
        if module.startswith("monai.networks.") and target in spellings:
            return getattr(importlib.import_module(modules[0]), component.name)
    return None


def _downloads(network_class: type, arguments: dict[str, Any]) -> bool:
    """Some argument ``pretrained...`` is set, as given or by default."""
    parameters = inspect.signature(network_class).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.name.startswith("pretrained")}
    return any({**defaults, **arguments}[name] for name in defaults)
