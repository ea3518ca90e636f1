from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

__all__ = ["per_sample_generators"]


def per_sample_generators(key: str, sample_ids: Sequence[str], device: torch.device | str) -> list[torch.Generator]:
    """One random stream for each sample, given by ``key`` and the sample's id alone.

    So a sample's noise depends neither on the batch it is in nor on the number of processes.

    Args:
        key: what the draws are for, the seed included.
        sample_ids: one for each sample.
        device: of the generators.
    """
    digests = (hashlib.blake2b(f"{key}/{sample_id}".encode(), digest_size=7).digest() for sample_id in sample_ids)
    return [torch.Generator(device).manual_seed(int.from_bytes(digest, "little")) for digest in digests]
