"""Segmentation outputs and labels as one binary map per class."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from monai.utils import TraceKeys

from .errors import SampleError
from .known_labels import labels_are_known

__all__ = [
    "FractionWarning",
    "first_head",
    "fraction_warning",
    "label_maps",
    "prediction_maps",
    "target_maps",
    "with_channel",
]

logger = logging.getLogger(__name__)

NEAR = 0.01
"""How far a label's value may be from an integer to be rounded: interpolation in float32, or a grey level."""
INTERPOLATING = re.compile("Resample|Spac|Resize|Affine|Zoom|Rotate|Elastic|Distortion")
WIDE = {torch.uint16, torch.uint32, torch.uint64}
"""Types that torch can convert, but not compare."""


def first_head(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """``[B, K, *spatial]`` logits; of deep-supervision heads stacked as ``[B, heads, K, *spatial]`` the first.

    Raises:
        ValueError: when logits and label are not of one batch and one grid, 2-D or 3-D.
    """
    label = with_channel(label, logits)
    shape = tuple(logits.shape)
    if logits.ndim == label.ndim + 1:
        logits = logits[:, 0]
    if logits.ndim not in (4, 5) or logits.shape[:1] + logits.shape[2:] != label.shape[:1] + label.shape[2:]:
        raise ValueError(
            f"Got logits of shape {shape} and labels of shape {tuple(label.shape)}, expected "
            "[B, K, *spatial] and [B, 1, *spatial] or [B, K, *spatial] on one 2-D or 3-D grid."
        )
    return logits


def with_channel(label: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """A segmentation's label with a channel axis, which ``[B, *spatial]`` of ``[B, K, *spatial]`` logits has not."""
    without = label.ndim > 2 and label.shape == logits.shape[:1] + logits.shape[2:] and label.shape[1] > 1
    return label.unsqueeze(1) if without else label


def prediction_maps(logits: torch.Tensor, sigmoid: bool) -> torch.Tensor:
    """What is predicted, from ``[B, K, *spatial]`` logits: float maps of 0 and 1 of the same shape."""
    if sigmoid:
        return (logits >= 0).float()
    return _one_hot(logits.max(dim=1, keepdim=True).indices, logits.shape[1])


def label_maps(label: torch.Tensor, channels: int, sigmoid: bool, counted: torch.Tensor | None = None) -> torch.Tensor:
    """A label as float maps of 0 and 1, ``[B, K, *spatial]``.

    Values within 0.01 of an integer are rounded. Others, between two classes, are taken as MONAI's losses take them:
    a class index is cut to the integer below, a binary map is 1 from 0.5 on (see :func:`fraction_warning`).

    Args:
        label: class indices ``[B, 1, *spatial]`` or binary maps ``[B, K, *spatial]``.
        channels: K, of the logits; at least 2 without ``sigmoid``.
        sigmoid: channels are independent of each other; else every voxel has one class.
        counted: what of the label is taken, bool of its shape or ``[B, 1, *spatial]``; all maps are 0 elsewhere.

    Raises:
        ValueError: when the label has neither 1 nor K channels, or K is 1 without ``sigmoid``.
        SampleError: when values are outside 0..K-1, or maps outside 0..1 or (without ``sigmoid``) not one-hot.
    """
    if channels == 1 and not sigmoid:
        raise ValueError("Got logits of one channel, expected two or more, or sigmoid=True.")
    if label.shape[1] not in (1, channels):
        raise ValueError(
            f"Got labels of {label.shape[1]} channels for logits of {channels}, expected {channels} binary maps or 1 "
            "map of class indices."
        )
    label = label.long() if label.dtype in WIDE else label
    if channels > label.shape[1]:
        index = _integers(label, label.trunc)
        if not labels_are_known():
            _refuse(~((index >= 0) & (index < channels)), label, f"integers in 0..{channels - 1}", counted)
        return _only(_one_hot(index.long(), channels), counted)
    maps = _integers(label, lambda: (label >= 0.5).to(label))
    if not labels_are_known():
        _refuse(~((label >= -NEAR) & (label <= 1 + NEAR)), label, "binary maps of 0 and 1", counted)
        if not sigmoid:
            _refuse(maps.sum(dim=1, keepdim=True) != 1, maps, "one class at every voxel (or sigmoid=True)", counted)
    return _only(maps.float(), counted)


def target_maps(
    label: torch.Tensor, logits: torch.Tensor, sigmoid: bool, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """:func:`label_maps` of a label that may lack its channel axis, for ``[B, K, *spatial]`` logits."""
    return label_maps(with_channel(label, logits), logits.shape[1], sigmoid, counted)


def fraction_warning(label: Any) -> str | None:
    """A sentence on a segmentation's label with values between two classes, and on what to mend; None without such.

    Args:
        label: as ``prepare_batch`` gives it; of ``[B, C, *spatial]`` a ``MetaTensor`` names the transforms it has seen.
    """
    if not isinstance(label, torch.Tensor) or label.ndim < 4 or not label.is_floating_point():
        return None
    between = (label - label.round()).abs() > NEAR
    if not between.any():
        return None
    seen = dict.fromkeys(filter(INTERPOLATING.search, _transforms(getattr(label, "applied_operations", ()))))
    names = " or ".join(seen) or "a transform"
    return (
        f"A label has the value {float(label[between][0]):g}, between two classes: {names} interpolates it, or "
        "its file is compressed with loss. It is taken as MONAI's losses take it, cut to the class below; expected "
        "mode='nearest' for labels, or AsDiscreted(rounding='torchrounding')."
    )


class FractionWarning:
    """Logs :func:`fraction_warning` of the labels that it is shown, once."""

    def __init__(self) -> None:
        self._given = False

    def __call__(self, label: Any) -> None:
        sentence = None if self._given else fraction_warning(label)
        if sentence is not None:
            self._given = True
            logger.warning(sentence)


def _transforms(operations: Iterable[Any]) -> Iterator[str]:
    """The names of the transforms that a batch of labels has seen."""
    for operation in operations:
        if isinstance(operation, Mapping):
            yield str(operation.get(TraceKeys.CLASS_NAME, ""))
        else:
            yield from _transforms(operation)


def _integers(label: torch.Tensor, otherwise: Callable[[], torch.Tensor]) -> torch.Tensor:
    """A label's values rounded where they are near an integer; NaN stays."""
    if not label.is_floating_point():
        return label
    nearest = label.round()
    near = (label - nearest).abs() <= NEAR
    return torch.where(near, nearest, otherwise())


def _one_hot(index: torch.Tensor, channels: int) -> torch.Tensor:
    # On a CPU ten times faster than scattering; so is max(...).indices compared with argmax.
    classes = torch.arange(channels, device=index.device).view(-1, *([1] * (index.ndim - 2)))
    return (index == classes).float()


def _only(maps: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    return maps if counted is None else maps.masked_fill(~counted, 0)


def _refuse(bad: torch.Tensor, label: torch.Tensor, expected: str, counted: torch.Tensor | None) -> None:
    bad = bad if counted is None else bad & counted
    if bad.any():
        sample = int(bad.flatten(1).any(dim=1).nonzero()[0])
        wrong = bad[sample].expand_as(label[sample])
        value = float(label[sample][wrong][0])
        raise SampleError(sample, f"has a label with the value {value:g} where it cannot be, expected {expected}.")
