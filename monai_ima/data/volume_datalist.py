"""Volumes with labels for the segmentation bundles: a folder of real ones, or the synthetic phantom."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from monai_ima.utils.distributed import one_rank_first

from .volume_msd import msd_datalist
from .volume_phantom import TASKS, write_volume_phantom

__all__ = ["volume_datalist"]

logger = logging.getLogger(__name__)


def volume_datalist(
    task: str,
    dataset_dir: str | os.PathLike | None,
    phantom_dir: str | os.PathLike,
    phantom_scans: int = 12,
    phantom_size: int | Sequence[int] | None = None,
    phantom_seed: int = 0,
    **kwargs: Any,
) -> dict[str, list[dict[str, str]]]:
    """:func:`msd_datalist` of a folder, or of the SYNTHETIC phantom when no folder is given.

    Of several processes the first one writes the phantom while the others wait.

    Args:
        task: "hippocampus", "heart" or "prostate".
        dataset_dir: folder in MSD layout; None or "" means the phantom.
        phantom_dir: where the phantom is written, or found again.
        phantom_scans: see :func:`write_volume_phantom`.
        phantom_size: see :func:`write_volume_phantom`.
        phantom_seed: see :func:`write_volume_phantom`.
        kwargs: further arguments of :func:`msd_datalist`; ``channels`` and ``classes`` are the task's unless given.
            With the phantom ``split`` is ignored, since its scans have other names.

    Raises:
        ValueError: as :func:`msd_datalist` and :func:`write_volume_phantom` do.
        OSError: as these do, when a folder or file is missing or in use for something else.
    """
    if task not in TASKS:
        raise ValueError(f"Got task {task}, expected {', '.join(TASKS)}.")
    arguments = {"channels": len(TASKS[task].modality), "classes": len(TASKS[task].labels), **kwargs}
    if dataset_dir not in (None, ""):
        return msd_datalist(dataset_dir, **arguments)
    logger.warning("No dataset_dir was given: these are SYNTHETIC scans (%s phantom, seed %d).", task, phantom_seed)
    with one_rank_first():
        root = write_volume_phantom(phantom_dir, task, phantom_scans, phantom_size, phantom_seed)
    return msd_datalist(root, **{**arguments, "split": None})
