"""The training methods as nnU-Net's patches need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from monai_ima.methods import IMA, PGDTraining
from monai_ima.methods.base import LossFunction, TrainingMethod
from monai_ima.utils.batch import Batch

from .precision import uncached_autocast

__all__ = ["PatchIMA", "PatchPGD"]


class _OfPatches(TrainingMethod):
    """In mixed precision, with losses that are means over the batch: nnU-Net's cross 0, so that no trial can tell."""

    @contextmanager
    def under_attack(self, batch: Batch) -> Iterator[None]:
        with super().under_attack(batch), uncached_autocast(batch.image.device.type):
            yield

    def sums(self, loss_function: LossFunction, prediction: Any, batch: Batch) -> bool | None:
        return False


class PatchIMA(_OfPatches, IMA):
    """:class:`~monai_ima.methods.IMA` of patches."""


class PatchPGD(_OfPatches, PGDTraining):
    """:class:`~monai_ima.methods.PGDTraining` of patches."""
