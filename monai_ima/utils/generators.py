from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["kept_random_states", "per_sample_generators"]


@contextmanager
def kept_random_states(device: torch.device | str = "cpu") -> Iterator[None]:
    """Leave the global random states of Python, NumPy and torch as they were.

    Args:
        device: torch's states on this device are kept, beside those of the CPU.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


def per_sample_generators(key: str, sample_ids: Sequence[str]) -> list[torch.Generator]:
    """One random stream for each sample, given by ``key`` and the sample's id alone.

    So a sample's noise depends neither on the batch it is in, nor on the number of processes, nor on the device: the
    generators are the CPU's, and what they draw is moved once for a whole batch.

    Args:
        key: what the draws are for, the seed included.
        sample_ids: one for each sample.
    """
    digests = (hashlib.blake2b(f"{key}/{sample_id}".encode(), digest_size=7).digest() for sample_id in sample_ids)
    return [torch.Generator().manual_seed(int.from_bytes(digest, "little")) for digest in digests]
