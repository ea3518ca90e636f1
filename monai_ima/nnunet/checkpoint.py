"""Checkpoints of nnU-Net, read without running what is in them."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

__all__ = ["read_checkpoint"]

SCALAR: Any = np.float64().__reduce__()[0]
NUMBERS = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
SAFE: list[Any] = [
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
    np.dtype,
    *(type(np.dtype(name)) for name in NUMBERS),
]
"""What nnU-Net keeps beside tensors: NumPy's numbers, as NumPy 1 and 2 call them."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint that nnU-Net has written: tensors, Python's types and NumPy's numbers.

    Args:
        file: such as ``checkpoint_final.pth``.

    Raises:
        ValueError: if the file is damaged, no checkpoint of nnU-Net's, or holds anything else.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "checkpoint_final.pth"
        >>> torch.save({"network_weights": {}, "trainer_name": "nnUNetTrainer", "_best_ema": np.float64(0.5)}, file)
        >>> float(read_checkpoint(file)["_best_ema"])
        0.5
    """
    try:
        with safe_globals(SAFE):
            strange = get_unsafe_globals_in_checkpoint(file)
            content = None if strange else torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, ValueError, EOFError):
        strange, content = [], None
    if strange:
        raise ValueError(
            f"{file} holds {strange[0]}, expected only what nnU-Net itself keeps: loading it could run code."
        )
    if not isinstance(content, dict) or not {"network_weights", "trainer_name"} <= content.keys():
        raise ValueError(f"{file} is damaged, expected a checkpoint that nnU-Net wrote.")
    return content
