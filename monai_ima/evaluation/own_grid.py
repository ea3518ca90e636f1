"""Volumes as they were before a bundle's transforms moved, cut and resampled them."""

from __future__ import annotations

import logging
from typing import Any

import monai.transforms
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, LazyTrait, LoadImaged, MapTransform
from monai.utils import CommonKeys

from monai_ima.utils.errors import one_line, root_cause

__all__ = ["on_own_grid"]

logger = logging.getLogger(__name__)

IMAGE, LABEL = str(CommonKeys.IMAGE.value), str(CommonKeys.LABEL.value)


def on_own_grid(volume: torch.Tensor, transform: Any, name: str) -> torch.Tensor:
    """A volume on the grid of its file; where its transforms cannot be undone, as it is, and a warning.

    Args:
        volume: ``[C, *spatial]``.
        transform: of the data set that it comes from, whatever keys its parts act on.
        name: of the bundle, for the warning.
    """
    steps = _steps(transform)
    try:
        history = volume.applied_operations if isinstance(volume, MetaTensor) else []
        moved = [type(step).__name__ for step in steps if isinstance(step, LazyTrait) and set(step.keys) - {LABEL}]
        if moved and not any(map(_moves, history)):
            raise RuntimeError(f"the image no longer knows what {', '.join(moved)} did")
        return _undone(volume, steps) if isinstance(volume, MetaTensor) and history else volume
    except (RuntimeError, TypeError, ValueError) as error:
        logger.warning(
            "The transforms of %s cannot be undone (%s): volumes are saved on the grid that the network sees.",
            name,
            one_line(root_cause(error)),
        )
        return volume


def _moves(operation: dict[str, Any]) -> bool:
    """A noted operation moves voxels; one that is not MONAI's may."""
    known = getattr(monai.transforms, str(operation.get("class")), LazyTrait)
    return issubclass(known, LazyTrait)


def _steps(transform: Any) -> list[MapTransform]:
    steps = transform.flatten().transforms if isinstance(transform, Compose) else [transform]
    return [step for step in steps if isinstance(step, MapTransform)]


def _undone(volume: MetaTensor, steps: list[MapTransform]) -> MetaTensor:
    """Undo key by key, the image's own first: what was done to parts under other keys is the whole's history too."""
    loaded = [key for step in steps if isinstance(step, LoadImaged) for key in step.keys]
    keys = dict.fromkeys([IMAGE, *loaded, *(key for step in steps for key in step.keys)])
    error: Exception = RuntimeError("the data set has none that says how")
    while volume.applied_operations:
        before = len(volume.applied_operations)
        for key in keys if steps else ():
            inverse = Invertd(key, Compose(steps), orig_keys=key, nearest_interp=False, to_tensor=True)
            try:
                undone = inverse({key: volume})[key]
            except (RuntimeError, TypeError, ValueError) as failed:
                error = failed
                continue
            if len(undone.applied_operations) < before:
                volume = undone
                break
        else:
            raise error
    return volume
