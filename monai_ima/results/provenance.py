"""Where a figure comes from: model, data, settings, machine, versions."""

from __future__ import annotations

import os
import platform
import shlex
from importlib.metadata import version
from typing import Any

import torch

from monai_ima.evaluation.loaded import LoadedBundle

from .schema import FORMAT

__all__ = ["command_line", "data_name", "machine", "provenance"]

PACKAGES = ("monai-ima", "monai", "torch", "pytorch-ignite", "numpy")


def provenance(loaded: LoadedBundle, settings: dict[str, Any], samples: int, patients: int | None) -> dict[str, Any]:
    """What is written beside every result.

    Args:
        loaded: the bundle.
        settings: of the evaluation.
        samples: how many were evaluated.
        patients: whom they are of; None where the data do not say.
    """
    network = loaded.network
    return {
        "format": FORMAT,
        "model": {
            "name": loaded.name,
            "version": _text(loaded.metadata.get("version")),
            "network": type(network).__name__,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "checkpoint": str(loaded.checkpoint),
        },
        "data": {
            "name": data_name(loaded),
            "licence": None if loaded.synthetic else _text(loaded.metadata.get("data_license")),
            "synthetic": loaded.synthetic,
            "samples": samples,
            "patients": patients,
        },
        "command": command_line(settings),
        "settings": settings,
        "machine": machine(loaded.device),
        "versions": {name: version(name) for name in PACKAGES},
    }


def command_line(settings: dict[str, Any], verb: str = "evaluate") -> str:
    """The command that gives these settings; those that are None or False are left out."""
    words = ["python", "-m", "monai_ima", verb]
    for name, value in settings.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            plain = isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
            words += [f"--{name}", ",".join(f"{v:g}" for v in value) if plain else str(value)]
    return shlex.join(words)


def data_name(loaded: LoadedBundle) -> str:
    """What kind of data the bundle was evaluated on; synthetic data is called synthetic."""
    if loaded.synthetic:
        return "synthetic phantom"
    return _text(loaded.metadata.get("data_source")) or "data set of the bundle"


def machine(device: torch.device | str = "cpu") -> str:
    """The kind of machine that a figure comes from, without its name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None
