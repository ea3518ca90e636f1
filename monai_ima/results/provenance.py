"""Where a figure comes from: command, machine, versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from monai_ima.utils.weights import has_digest, load_weights

__all__ = ["command_line", "commit", "has_other_weights", "machine", "python_call", "today", "versions"]

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


def today() -> str:
    """The date, in UTC: ``2026-11-27``."""
    return datetime.now(UTC).date().isoformat()


def commit() -> str | None:
    """The commit of the git repository that this process runs in, with ``+`` where files were changed; None outside."""
    try:
        found, changed = (
            subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found + "+" * bool(changed)


def has_other_weights(checkpoint: str | None, sha256: str | None) -> bool:
    """A checkpoint's file is there, and holds other weights than those of this SHA-256, or none; False if not known."""
    if checkpoint is None or sha256 is None or not Path(checkpoint).is_file():
        return False
    try:
        return not has_digest(load_weights(checkpoint), sha256)
    except ValueError:
        return True
