"""OCT scans for the bundles: a folder of real ones, or the synthetic phantom when there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from monai_ima.utils.distributed import one_rank_first

from .oct_kermany import kermany_datalist
from .oct_phantom import write_oct_phantom

__all__ = ["oct_datalist"]

logger = logging.getLogger(__name__)


def oct_datalist(
    dataset_dir: str | os.PathLike | None,
    phantom_dir: str | os.PathLike,
    phantom_per_class: Mapping[str, int] | int = 100,
    phantom_size: int = 224,
    phantom_seed: int = 0,
    **kwargs: Any,
) -> dict[str, list[dict[str, str | int]]]:
    """:func:`kermany_datalist` of a folder, or of the SYNTHETIC phantom when no folder is given.

    Of several processes the first one writes the phantom while the others wait.

    Args:
        dataset_dir: folder in Kermany's layout; None or "" means the phantom.
        phantom_dir: where the phantom is written, or found again.
        phantom_per_class: see :func:`write_oct_phantom`.
        phantom_size: see :func:`write_oct_phantom`.
        phantom_seed: see :func:`write_oct_phantom`.
        kwargs: further arguments of :func:`kermany_datalist`.

    Raises:
        ValueError: as :func:`kermany_datalist` and :func:`write_oct_phantom` do.
        OSError: as these do, when a folder is missing, empty, or in use for something else.
    """
    if dataset_dir not in (None, ""):
        return kermany_datalist(dataset_dir, **kwargs)
    logger.warning("No dataset_dir was given: these are SYNTHETIC scans (OCT phantom, seed %d).", phantom_seed)
    with one_rank_first():
        root = write_oct_phantom(phantom_dir, phantom_per_class, phantom_size, phantom_seed)
    return kermany_datalist(root, **kwargs)
