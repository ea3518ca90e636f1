"""Where a figure comes from: settings, weights, data, machine, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from .load import OpenBundle

__all__ = ["data_name", "machine", "provenance"]


def provenance(opened: OpenBundle, settings: dict[str, Any]) -> dict[str, Any]:
    """What to write beside a result."""
    return {
        "settings": settings,
        "checkpoint": str(opened.checkpoint),
        "data": data_name(opened),
        "machine": machine(opened.device),
        "versions": {name: version(name) for name in ("monai-ima", "monai", "torch", "pytorch-ignite", "numpy")},
    }


def data_name(opened: OpenBundle) -> str:
    """What kind of data the bundle was evaluated on; synthetic data is called synthetic."""
    return "synthetic phantom" if opened.synthetic else "data set of the bundle"


def machine(device: torch.device | str = "cpu") -> str:
    """The kind of machine that a figure comes from, without its name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"
