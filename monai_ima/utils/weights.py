"""A network's weights in a checkpoint file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checks import check_path
from .predictor import unwrap

__all__ = [
    "check_weights",
    "fit_weights",
    "is_torchscript",
    "load_checkpoint",
    "load_network",
    "load_torchscript",
    "load_weights",
    "weights_digest",
]

WEIGHT_KEYS = ("model", "network", "net", "state_dict", "model_state_dict", "network_weights")


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


def is_torchscript(file: str | Path) -> bool:
    """Whether a file is a TorchScript archive: it holds code beside its weights."""
    path = Path(check_path("checkpoint", file))
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def load_torchscript(file: str | Path) -> torch.jit.ScriptModule:
    """The network of a TorchScript file, on the CPU.

    Raises:
        ValueError: when it cannot be loaded, or its weights are folded into its code (``torch.jit.freeze``).
    """
    try:
        network = torch.jit.load(file, map_location="cpu")
    except Exception as error:
        raise ValueError(f"File {file} cannot be loaded as TorchScript, expected a whole file.") from error
    if not network.state_dict():
        raise ValueError(
            f"TorchScript {file} is frozen and holds no weights apart from its code, expected one that was not frozen: "
            "results name their weights."
        )
    return network


def load_weights(file: str | Path) -> dict[str, torch.Tensor]:
    """The network's weights in a TorchScript file, or a checkpoint: flat or under ``model``, ``network`` or the like.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights.
    """
    if is_torchscript(file):
        return load_torchscript(file).state_dict()
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
                f"{_shape(ours)} as in the network."
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
