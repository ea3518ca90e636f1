from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor

from .checks import check_instance
from .errors import SampleError

__all__ = [
    "at_least_float32",
    "check_finite",
    "check_tensor",
    "first_output",
    "map_tensors",
    "plain",
    "row_count",
    "select_rows",
]


def first_output(output: Any) -> torch.Tensor:
    """The tensor that counts when a network returns several and no one names another.

    Args:
        output: a tensor, or a tuple or list whose first value is the main (highest-resolution) output, nested or not;
            of a dictionary the only value.

    Returns:
        the first tensor.

    Raises:
        ValueError: when there is no tensor in first place, or a dictionary has several values.
    """
    while not isinstance(output, torch.Tensor):
        if isinstance(output, Mapping) and len(output) == 1:
            output = next(iter(output.values()))
        elif isinstance(output, Mapping) and output:
            keys = ", ".join(repr(str(key)) for key in output)
            raise ValueError(
                f"The network returned a dictionary with the keys {keys}, expected output= with the key that counts "
                "(--output of harden, evaluate and attack)."
            )
        elif isinstance(output, Sequence) and not isinstance(output, str) and output:
            output = output[0]
        else:
            raise ValueError(
                f"The network returned {type(output).__name__}, expected a tensor, or a tuple or list whose first "
                "value is the tensor of logits, or else output= with the index or key of that."
            )
    return output


def plain(tensor: Any) -> Any:
    """A tensor without metadata; of a dictionary all of them."""
    return convert_to_tensor(tensor, track_meta=False)


def select_rows(value: Any, index: torch.Tensor, count: int) -> Any:
    """The rows at ``index`` of every tensor of ``count`` rows, also inside tuples, lists and dictionaries.

    Example:
        >>> select_rows({"a": torch.arange(3), "b": (torch.zeros(2), 7)}, torch.tensor([2]), 3)
        {'a': tensor([2]), 'b': (tensor([0., 0.]), 7)}
    """

    def rows(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[index.to(tensor.device)] if tensor.ndim > 0 and len(tensor) == count else tensor

    return map_tensors(rows, value)


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """A value with every tensor replaced, also inside tuples, lists and dictionaries.

    Example:
        >>> map_tensors(torch.neg, {"a": torch.ones(1), "b": (torch.zeros(1), "c")})
        {'a': tensor([-1.]), 'b': (tensor([-0.]), 'c')}
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        made = (map_tensors(function, inner) for inner in value)
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def row_count(value: Any) -> int:
    """Number of rows of a tensor, or of each tensor in a dictionary.

    Example:
        >>> row_count({"a": torch.zeros(3, 2), "b": torch.zeros(3)})
        3
    """
    return row_count(next(iter(value.values()))) if isinstance(value, Mapping) and value else len(value)


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """``logits`` in float32 when they are of half precision."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def check_tensor(name: str, value: Any) -> torch.Tensor:
    """``value``, when it is a tensor.

    Raises:
        TypeError: when it is not; names the argument.
    """
    return check_instance(name, value, torch.Tensor, "a tensor")


def check_finite(value: torch.Tensor, what: str) -> None:
    """Check that a batch of values is finite.

    Args:
        value: ``[B, ...]``.
        what: its name in the sentence.

    Raises:
        SampleError: when a value is NaN or infinite.
    """
    if not math.isfinite(float(value.sum())):
        bad = ~torch.isfinite(value.reshape(len(value), -1)).all(dim=1)
        if bad.any():
            raise SampleError(int(bad.nonzero()[0]), f"has {what} with NaN or infinity, expected finite values only.")
