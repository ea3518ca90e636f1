"""The device that work is done on."""

from __future__ import annotations

from typing import Any

import torch

from .checks import shown

__all__ = ["check_device"]


def check_device(device: Any) -> torch.device:
    """``device``, when this machine has it.

    Args:
        device: torch's own, or its name.

    Raises:
        ValueError: when it names none, or one that is not there.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    try:
        found = torch.device(device) if isinstance(device, str | torch.device) else None
        if found is not None and found.type != "meta":
            torch.empty(0, device=found)
            return found
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    raise ValueError(f"Got device {shown(device)}, expected one that this machine has, such as {_present()}.")


def _present() -> str:
    return "cuda:0" if torch.cuda.is_available() else "cpu"
