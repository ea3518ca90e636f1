"""Which output of a network counts, and which label goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .tensors import first_output

__all__ = ["OneOutput", "Output", "choose_label", "choose_output"]

Output = int | str | None
"""Index or key of the output that counts, where a network returns several; None: the first."""


def choose_output(prediction: Any, output: Output = None, label: Any = None) -> torch.Tensor:
    """The output that counts.

    Args:
        prediction: what a network returned: a tensor, which is its only output, or a tuple, list or dictionary.
        output: index (-1: the last) or key; None: the first of a tuple or list.
        label: its label where the two are on one grid, or None.

    Raises:
        ValueError: when there is no such output, it is no tensor, ``output`` is None for a dictionary of several, or
            another output is on the label's grid and this one is not.

    Example:
        >>> features, logits = torch.rand(2, 8), torch.rand(2, 3)
        >>> choose_output((features, logits), -1) is choose_output({"f": features, "out": logits}, "out")
        True
    """
    chosen = first_output(prediction) if output is None else _named(prediction, output)
    if isinstance(label, torch.Tensor) and not isinstance(prediction, torch.Tensor):
        _check_grid(prediction, chosen, output, label)
    return chosen


def choose_label(label: Any, output: Output = None) -> Any:
    """The label that goes with an output: of a dictionary of labels the one of the same key.

    Raises:
        ValueError: when the dictionary has no such key.

    Example:
        >>> maps, types = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])
        >>> choose_label({"maps": maps, "types": types}, "types"), choose_label(types, "out")
        (tensor([0, 1]), tensor([0, 1]))
    """
    if not isinstance(label, Mapping):
        return label
    if output not in label:
        raise ValueError(
            f"Got labels as {_kind(label)} and output={output!r}, expected output= with the key of the label that "
            "counts, and of the network's output with it."
        )
    return label[output]


@dataclass(frozen=True)
class OneOutput:
    """A callable that returns several outputs, as one that returns the output that counts.

    Attributes:
        network: from images to predictions; one with a method ``select(index)`` keeps it.
        output: index or key.

    Example:
        >>> OneOutput(lambda image: (image.mean(), image.flatten(1)), 1)(torch.zeros(2, 1, 2, 2)).shape
        torch.Size([2, 4])
    """

    network: Callable[..., Any]
    output: Output

    def __call__(self, *inputs: Any, **kwargs: Any) -> torch.Tensor:
        return choose_output(self.network(*inputs, **kwargs), self.output)

    def select(self, index: torch.Tensor) -> OneOutput:
        """For the samples at ``index`` only."""
        select = getattr(self.network, "select", None)
        return self if select is None else replace(self, network=select(index))


def _named(prediction: Any, output: int | str) -> torch.Tensor:
    if isinstance(prediction, torch.Tensor):
        return prediction
    try:
        chosen = prediction[output]
    except (KeyError, IndexError, TypeError):
        raise ValueError(
            f"Got output={output!r}, but the network returned {_kind(prediction)}, expected one of these."
        ) from None
    if not isinstance(chosen, torch.Tensor):
        raise ValueError(f"Output {output!r} of the network is {_kind(chosen)}, expected a tensor of logits.")
    return chosen


def _check_grid(prediction: Any, chosen: torch.Tensor, output: Output, label: torch.Tensor) -> None:
    if chosen.ndim < 3 or label.ndim < 3 or _on_grid(chosen, label):
        return
    fitting = [name for name, other in _entries(prediction) if torch.is_tensor(other) and _on_grid(other, label)]
    if fitting:
        which = "The network's first output" if output is None else f"Output {output!r} of the network"
        raise ValueError(
            f"{which} has shape {tuple(chosen.shape)} and its label {tuple(label.shape)}, on another grid: expected "
            f"output={fitting[-1]!r}, which is on the label's."
        )


def _on_grid(logits: torch.Tensor, label: torch.Tensor) -> bool:
    grid = label.shape[2:] if label.ndim == logits.ndim else label.shape[1:]
    return logits.ndim > 2 and len(logits) == len(label) and logits.shape[2:] == grid


def _entries(prediction: Any) -> Iterator[tuple[int | str, Any]]:
    """Name and value of each output; the last one of a list has the name -1."""
    if isinstance(prediction, Mapping):
        yield from ((str(key), value) for key, value in prediction.items())
    elif isinstance(prediction, Sequence):
        yield from ((k if k + 1 < len(prediction) else -1, value) for k, value in enumerate(prediction))


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(repr(str(key)) for key in value)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
