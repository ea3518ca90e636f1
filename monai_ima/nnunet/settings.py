"""Settings of the trainers: class attributes, over which environment variables go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["PREFIX", "from_environment", "resumed"]

PREFIX = "MONAI_IMA_"
NAMES = ("eps_max", "delta", "eps", "norm", "beta", "steps", "schedule", "threshold", "start_epoch", "seed")
NEAR = 0.8
BEFORE = {"schedule": "constant"}
"""Settings that a checkpoint lacks which was written before there was a choice."""


def from_environment(names: Sequence[str]) -> dict[str, Any]:
    """The settings that environment variables such as ``MONAI_IMA_EPS_MAX`` give.

    Args:
        names: of a trainer's settings; variables of other trainers are left alone.

    Raises:
        ValueError: if a variable is nearly one of them.
    """
    given: dict[str, Any] = {}
    for variable, text in os.environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX):
            continue
        if name in names:
            given[name] = _value(text)
        elif name not in NAMES:
            for near in get_close_matches(name.replace("_", ""), [n.replace("_", "") for n in NAMES], 1, NEAR):
                meant = next(n for n in NAMES if n.replace("_", "") == near)
                raise ValueError(f"Unknown environment variable {variable}, expected {PREFIX}{meant.upper()}.")
    return given


def resumed(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a training is resumed with: those of its checkpoint.

    Args:
        saved: in the checkpoint.
        given: by environment variables.

    Raises:
        ValueError: if a variable says otherwise.
    """
    saved = {**BEFORE, **saved}
    for name, value in given.items():
        if saved.get(name) != value:
            raise ValueError(
                f"Got {PREFIX}{name.upper()}={value}, but the checkpoint was trained with {saved.get(name)}, expected "
                "the same, or the variable unset, for a training that is resumed."
            )
    return dict(saved)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
