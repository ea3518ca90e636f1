"""The network of a model file: TorchScript, or a state dict with the class of its network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import monai.networks.nets
import torch
from torch import nn

from monai_ima.utils.checks import shown
from monai_ima.utils.errors import one_line, root_cause
from monai_ima.utils.weights import fit_weights, is_torchscript, load_checkpoint, load_torchscript, load_weights

__all__ = ["LoadedModel", "load_model"]

NETS = "monai.networks.nets"


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights, on the CPU.

    Attributes:
        file: of the model.
        network: in evaluation mode.
        definition: of a state dict's network, the component of a config that builds it; None for TorchScript.
    """

    file: Path
    network: nn.Module
    definition: dict[str, Any] | None


def load_model(file: str | Path, network: str | None = None, arguments: Mapping[str, Any] | None = None) -> LoadedModel:
    """Load a TorchScript file, or build a network and load a state dict into it.

    Args:
        file: TorchScript, or a checkpoint with a state dict, flat or under a usual key such as ``"model"``.
        network: class of a state dict's network: its name in ``monai.networks.nets``, or with its module in front.
        arguments: of that class.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no model, a state dict without a class or TorchScript with one, the class is unknown or
            refuses its arguments, or the weights are of another network.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".ts") as file:
        ...     torch.jit.script(nn.Linear(2, 1)).save(file.name)
        ...     sorted(load_model(file.name).network.state_dict())
        ['bias', 'weight']
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"Model {path} does not exist, expected a TorchScript file or a checkpoint.")
    if is_torchscript(path):
        if network is not None:
            raise ValueError(f"Model {path} is TorchScript, which holds its network, expected no --network.")
        return LoadedModel(path, load_torchscript(path).eval(), None)
    if network is None:
        load_checkpoint(path)
        raise ValueError(f"Model {path} is no TorchScript, expected the class of its network as --network.")
    weights = load_weights(path)
    network_class = _network_class(network)
    built = _built(network_class, network, dict(arguments or {}))
    fit_weights(built, weights, path)
    target = network_class.__name__ if _is_monai(network_class) else network
    return LoadedModel(path, built.eval(), {"_target_": target, **(arguments or {})})


def _is_monai(network_class: type) -> bool:
    return getattr(monai.networks.nets, network_class.__name__, None) is network_class


def _network_class(name: str) -> type[nn.Module]:
    """The class of a network, by its name in MONAI or with its module."""
    module_name, _, class_name = (name if "." in name else f"{NETS}.{name}").rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        problem = one_line(root_cause(error)).rstrip(".")
        raise ValueError(f"Network {name} cannot be imported ({problem}), expected {_near(name)}.") from error
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ValueError(f"Unknown network {name}, expected {_near(class_name, module)}.")
    return found


def _near(name: str, module: ModuleType = monai.networks.nets) -> str:
    """The network of a module with the nearest name."""
    by_small = {
        value.__name__.lower(): value.__name__
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    }
    near = get_close_matches(name.rpartition(".")[2].lower(), by_small, 1, 0.5)
    return f"{module.__name__}.{by_small[near[0]]}" if near else "a class such as monai.networks.nets.UNet"


def _built(network_class: type[nn.Module], name: str, arguments: dict[str, Any]) -> nn.Module:
    parameters = inspect.signature(network_class).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for argument in arguments.keys() - parameters.keys() if not open_ended else ():
        near = get_close_matches(argument, parameters, 1)
        expected = near[0] if near else f"some of {', '.join(parameters)}"
        raise ValueError(f"Network {name} has no argument {shown(argument)}, expected {expected} in --network_args.")
    missing = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in arguments
    ]
    if missing:
        raise ValueError(
            f"Network {name} lacks {', '.join(missing)}, expected {'them' if len(missing) > 1 else 'it'} "
            "in --network_args."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            return network_class(**arguments)
    except Exception as error:
        problem = one_line(root_cause(error)).rstrip(".")
        raise ValueError(f"Network {name} cannot be built, expected arguments that it takes: {problem}.") from error
