"""A network's weights in a checkpoint file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checks import check_path
from .predictor import unwrap

__all__ = ["check_weights", "fit_weights", "load_checkpoint", "load_network", "load_weights", "weights_digest"]

WEIGHT_KEYS = ("model", "network", "net", "state_dict")


def load_checkpoint(file: str | Path) -> Any:
    """The content of a checkpoint, loaded with ``weights_only=True``.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it is no checkpoint.
    """
    path = Path(check_path("checkpoint", file))
    if not path.is_file():
        raise FileNotFoundError(f"Checkpoint {path} does not exist, expected a file written by torch.save.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"File {path} is no checkpoint that loads safely, expected one of tensors only.") from error


def load_weights(file: str | Path) -> dict[str, torch.Tensor]:
    """The network's weights in a checkpoint, flat or under one of ``model``, ``network``, ``net``, ``state_dict``.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights.
    """
    content = load_checkpoint(file)
    if isinstance(content, dict):
        for candidate in (content, *(content.get(key) for key in WEIGHT_KEYS)):
            if isinstance(candidate, dict) and candidate and all(torch.is_tensor(v) for v in candidate.values()):
                return candidate
    raise ValueError(f"Checkpoint {file} holds no network weights, expected them at the top or under 'model'.")


def load_network(network: nn.Module, file: str | Path) -> None:
    """Load a checkpoint's weights into a network, such as a plain-trained start.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights, or another network's.
    """
    fit_weights(network, load_weights(file), file)


def fit_weights(network: nn.Module, weights: dict[str, torch.Tensor], checkpoint: str | Path) -> None:
    """Load weights into a network, also one inside ``DistributedDataParallel``.

    Raises:
        ValueError: when they are another network's.
    """
    check_weights(network, weights, checkpoint)
    unwrap(network).load_state_dict(weights)


def check_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], checkpoint: str | Path) -> None:
    """Refuse weights that do not fit a network; the network is left as it is.

    Raises:
        ValueError: when they are another network's.
    """
    expected = unwrap(network).state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours, theirs = expected.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            raise ValueError(
                f"Checkpoint {checkpoint} is of another network: {name} is {_shape(theirs)} there, expected "
                f"{_shape(ours)} as in the bundle."
            )


def weights_digest(weights: nn.Module | Mapping[str, Any]) -> str:
    """SHA-256 of a network's parameters and buffers, or of weights such as :func:`load_weights` gives."""
    state = unwrap(weights).state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
