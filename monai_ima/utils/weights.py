"""A network's weights in a checkpoint file."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checks import check_path
from .predictor import unwrap

__all__ = [
    "check_weights",
    "fit_weights",
    "has_digest",
    "is_torchscript",
    "load_checkpoint",
    "load_network",
    "load_torchscript",
    "load_weights",
    "weights_digest",
]

logger = logging.getLogger(__name__)

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
        raise ValueError(
            f"File {path} is no checkpoint that loads safely, expected one of tensors only, such as "
            "torch.save(network.state_dict(), FILE) writes."
        ) from error


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
    """The network's weights in a TorchScript file, or a checkpoint: flat, under ``model``, ``network`` or the
    like, or one deeper.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights.
    """
    if is_torchscript(file):
        return load_torchscript(file).state_dict()
    content = load_checkpoint(file)
    for candidate in _candidates(content, depth=2):
        if candidate and all(torch.is_tensor(value) for value in candidate.values()):
            return candidate
    *keys, last = WEIGHT_KEYS
    raise ValueError(
        f"Checkpoint {file} holds no network weights, expected them at the top or under {', '.join(keys)} or {last}."
    )


def _candidates(content: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Dictionaries that may hold the weights, those at the top first."""
    level = [content]
    for _ in range(depth + 1):
        level = [candidate for candidate in level if isinstance(candidate, dict)]
        yield from level
        level = [candidate.get(key) for candidate in level for key in WEIGHT_KEYS]


def load_network(network: nn.Module, file: str | Path) -> None:
    """Load a checkpoint's weights into a network, such as a plain-trained start.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights, or another network's.
    """
    fit_weights(network, load_weights(file), file)


def fit_weights(network: nn.Module, weights: dict[str, torch.Tensor], checkpoint: str | Path) -> None:
    """Load weights into a network, also one inside ``DistributedDataParallel``.

    A prefix that all names have, such as ``module.``, is left out where they are the network's without it.

    Raises:
        ValueError: when they are another network's.
    """
    check_weights(network, weights, checkpoint)
    prefix = _prefix(unwrap(network).state_dict(), weights)
    if prefix:
        logger.info("The names of the weights in %s are taken without the prefix %s.", checkpoint, prefix)
    unwrap(network).load_state_dict(_without(prefix, weights))


def check_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], checkpoint: str | Path) -> None:
    """Refuse weights that do not fit a network, as :func:`fit_weights`; the network is left as it is.

    Raises:
        ValueError: when they are another network's.
    """
    expected = unwrap(network).state_dict()
    prefixes = _prefixes(weights)
    weights = _without(_prefix(expected, weights), weights)
    other = f"Checkpoint {checkpoint} is of another network: "
    also = f" (all names there begin with {prefixes[-1]})" if prefixes and not expected.keys() & weights.keys() else ""
    for name in sorted(expected.keys() | weights.keys()):
        ours, theirs = expected.get(name), weights.get(name)
        if ours is None:
            raise ValueError(f"{other}{name} is not in the network, expected only names such as {min(expected)}{also}.")
        if theirs is None or ours.shape != theirs.shape:
            found = "missing" if theirs is None else f"of shape {tuple(theirs.shape)}"
            raise ValueError(
                f"{other}{name} is {found} there, expected of shape {tuple(ours.shape)} as in the network{also}."
            )


def has_digest(weights: Mapping[str, Any], digest: str) -> bool:
    """Whether weights are those of a network with this :func:`weights_digest`, with or without a prefix."""
    return any(weights_digest(_without(prefix, weights)) == digest for prefix in ("", *_prefixes(weights)))


def _prefix(expected: Iterable[str], weights: Mapping[str, Any]) -> str:
    """The prefix without which the names of weights are the expected ones; "" where there is none."""
    names = set(expected)
    return next((prefix for prefix in _prefixes(weights) if {name[len(prefix) :] for name in weights} == names), "")


def _prefixes(weights: Mapping[str, Any]) -> list[str]:
    """What all names begin with up to one of their dots."""
    first = next(iter(weights), "")
    starts = [first[: k + 1] for k, letter in enumerate(first) if letter == "."]
    return [start for start in starts if all(name.startswith(start) for name in weights)]


def _without(prefix: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in weights.items()}


def weights_digest(weights: nn.Module | Mapping[str, Any]) -> str:
    """SHA-256 of a network's parameters and buffers, or of weights such as :func:`load_weights` gives."""
    state = unwrap(weights).state_dict() if isinstance(weights, nn.Module) else weights
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
