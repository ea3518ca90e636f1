"""Which data an evaluation is of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from monai_ima.utils.sample_ids import batch_sample_ids, common_folder
from monai_ima.utils.tensors import plain
from monai_ima.utils.workers import workers

from .loaded import LoadedBundle

__all__ = ["data_digest"]


def data_digest(loaded: LoadedBundle, on_batch: Callable[[Sequence[Any], Sequence[str]], None] | None = None) -> str:
    """SHA-256 of every sample's id, image size and label, in the loader's order.

    Args:
        loaded: whose data are read once.
        on_batch: called with what ``prepare_batch`` makes of every batch (image, label, extra inputs), and its ids.

    Raises:
        ValueError: if a batch has no ids.
    """
    digest = hashlib.sha256()
    root = common_folder(getattr(loaded.data_loader, "dataset", None))
    for batchdata in tqdm(loaded.data_loader, desc="data", leave=False, disable=not workers().leader):
        prepared = loaded.prepare_batch(batchdata, loaded.device)
        image, label = prepared[:2]
        labels = label if isinstance(label, dict) else {"": label}
        sample_ids = batch_sample_ids(batchdata, image, root=root)
        if on_batch is not None:
            on_batch(prepared, sample_ids)
        for row, sample_id in enumerate(sample_ids):
            digest.update(f"{sample_id}\0{tuple(image[row].shape)}\0".encode())
            for name, value in labels.items():
                digest.update(name.encode())
                if value is not None:
                    content = plain(value)[row].detach().cpu().contiguous()
                    digest.update(f"{tuple(content.shape)}".encode() + content.double().numpy().tobytes())
    return digest.hexdigest()
