"""Where a figure comes from: command, machine, versions."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

__all__ = ["command_line", "machine", "python_call", "versions"]

PACKAGES = ("monai-ima", "monai", "torch", "pytorch-ignite", "numpy")


def command_line(settings: Mapping[str, Any], verb: str = "evaluate") -> str:
    """The command that gives these settings; those that are None or False are left out."""
    words = ["python", "-m", "monai_ima", verb]
    for name, value in settings.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            plain = isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
            words += [f"--{name}", ",".join(f"{v:g}" for v in value) if plain else str(value)]
    return shlex.join(words)


def python_call(settings: Mapping[str, Any]) -> str:
    """The call of :func:`monai_ima.evaluation.evaluate` that gives these settings, without None and False."""
    given = ", ".join(
        f"{name}={value!r}" for name, value in settings.items() if value is not None and value is not False
    )
    return f"monai_ima.evaluation.evaluate(network, loader, {given})"


def machine(device: torch.device | str = "cpu") -> str:
    """The kind of machine that a figure comes from, without its name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """The versions of the packages that figures depend on."""
    return {name: version(name) for name in PACKAGES}
