"""ECG beats for the bundles: the files of a folder, or synthetic beats when there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from monai_ima.utils.checks import check_bool

from .ecg_heartbeat import Item, balanced, heartbeat_datalist, summarize_beats
from .ecg_phantom import ecg_phantom_datalist

__all__ = ["ecg_datalist"]

logger = logging.getLogger(__name__)


def ecg_datalist(
    dataset_dir: str | os.PathLike | None,
    val_fraction: float = 0.2,
    balance: bool = False,
    seed: int = 0,
    phantom_beats: Mapping[str, int] | int = 1000,
    phantom_seed: int = 0,
) -> dict[str, list[Item]]:
    """:func:`heartbeat_datalist` of a folder, or SYNTHETIC beats when no folder is given.

    Args:
        dataset_dir: folder of heartbeat CSV files; None or "" means the phantom.
        val_fraction: see :func:`heartbeat_datalist`.
        balance: True to up-sample the training beats, see :func:`balanced`.
        seed: of the validation split and the up-sampling.
        phantom_beats: see :func:`ecg_phantom_datalist`.
        phantom_seed: see :func:`ecg_phantom_datalist`.

    Raises:
        ValueError: if ``balance`` is no bool, and as :func:`heartbeat_datalist` and :func:`ecg_phantom_datalist` do.
        FileNotFoundError: as :func:`heartbeat_datalist` does.
    """
    check_bool("balance", balance)
    if dataset_dir not in (None, ""):
        datalist = heartbeat_datalist(dataset_dir, val_fraction, seed)
    else:
        logger.warning("No dataset_dir was given: these are SYNTHETIC beats (ECG phantom, seed %d).", phantom_seed)
        datalist = ecg_phantom_datalist(phantom_beats, phantom_seed)
        logger.info("SYNTHETIC beats:\n%s", summarize_beats(datalist))
    if balance:
        datalist["train"] = balanced(datalist["train"], seed)
    return datalist
