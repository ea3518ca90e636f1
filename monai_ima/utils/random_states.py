"""The states of all random generators that a training draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable, Transform
from torch.utils.data import Dataset

__all__ = ["RandomStates"]

PARTS = (Dataset, Transform, Randomizable)


class RandomStates:
    """The generators of Python, NumPy and torch, and those of a data set's random transforms, to be saved and restored.

    Args:
        dataset: whose transforms draw in this process; None for none.

    Example:
        >>> states = RandomStates()
        >>> saved, first = states.state_dict(), float(torch.rand(1))
        >>> states.load_state_dict(saved)
        >>> float(torch.rand(1)) == first
        True
    """

    def __init__(self, dataset: Any = None) -> None:
        self.dataset = dataset

    def state_dict(self) -> dict[str, Any]:
        """The states, of types that ``torch.load(weights_only=True)`` reads."""
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        return {
            "python": _listed(random.getstate()),
            "numpy": _saved(np.random.get_state(legacy=False)),  # noqa: NPY002 - transforms draw from it
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if cuda else [],
            "transforms": [_saved(transform.R.get_state(legacy=False)) for transform in self._transforms()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the states were; the transforms' only where they are as many as then."""
        random.setstate(_tupled(state["python"]))
        np.random.set_state(_restored(state["numpy"]))  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        transforms = list(self._transforms())
        if len(transforms) == len(state["transforms"]):
            for transform, saved in zip(transforms, state["transforms"], strict=True):
                transform.R.set_state(_restored(saved))

    def _transforms(self) -> Iterator[Randomizable]:
        """Everything random in the data set, each once, in an order that is the same in every process."""
        seen: set[int] = set()
        waiting: list[Any] = [self.dataset]
        while waiting:
            value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Randomizable):
                yield value
            if isinstance(value, (list, tuple)):
                waiting += [item for item in value if isinstance(item, PARTS)]
            elif isinstance(value, Dataset):
                waiting += [vars(value).get(name) for name in ("transform", "transforms", "dataset", "datasets")]
            elif isinstance(value, PARTS):
                waiting += [inner for inner in vars(value).values() if isinstance(inner, (*PARTS, list, tuple))]


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _saved(state: Any) -> dict[str, Any]:
    key = torch.from_numpy(state["state"]["key"].astype(np.int64))
    return {**state, "state": {"key": key, "pos": int(state["state"]["pos"])}}


def _restored(state: dict[str, Any]) -> dict[str, Any]:
    key = state["state"]["key"].numpy().astype(np.uint32)
    return {**state, "state": {"key": key, "pos": state["state"]["pos"]}}
