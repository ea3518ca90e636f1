"""Labels that count nowhere: those of ``ignore_index``, and unknown ones of a multi-label vector."""

from __future__ import annotations

import torch

from .label_maps import NEAR, with_channel

__all__ = ["counted_entries", "counted_mean", "counted_voxels", "has_label"]


def counted_entries(label: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """The entries of a label that are neither NaN (unknown) nor ``ignore_index``: bool of the label's shape."""
    if label.is_floating_point():
        known = ~label.isnan()
        return known if ignore_index is None else known & ((label - ignore_index).abs() > NEAR)
    # An unsigned 255 equals -1 for torch.
    return torch.ones_like(label, dtype=torch.bool) if ignore_index is None else label.long() != ignore_index


def counted_voxels(label: torch.Tensor, logits: torch.Tensor, sigmoid: bool, ignore_index: int) -> torch.Tensor:
    """The voxels of a segmentation that count.

    Of class indices, and of a single binary map, those of another value than ``ignore_index``. Of K > 1 maps the value
    marks what is left out (the entry with ``sigmoid``, else the voxel); so does, where it is one of 0..K-1, a 1 in that
    channel (the voxel), and of one-hot maps of an index outside of 0..K-1 a voxel of no class, as for MONAI's losses.

    Args:
        label: of :func:`~monai_ima.utils.label_maps.target_maps`.
        logits: ``[B, K, *spatial]``.
        sigmoid: channels are independent of each other.
        ignore_index: the label that is left out.

    Returns:
        bool ``[B, 1, *spatial]`` or ``[B, K, *spatial]``.
    """
    label = with_channel(label if label.is_floating_point() else label.long(), logits)
    channels = label.shape[1]
    if channels == 1:
        return counted_entries(label, ignore_index)
    is_class = 0 <= ignore_index < channels
    is_binary = ignore_index in (0, 1)
    counted = torch.ones_like(label, dtype=torch.bool) if is_binary else counted_entries(label, ignore_index)
    if is_class:
        counted = counted & (label[:, ignore_index : ignore_index + 1] < 1 - NEAR)
    if sigmoid:
        return counted
    counted = counted.all(dim=1, keepdim=True)
    return counted if is_class else counted & (label != 0).any(dim=1, keepdim=True)


def counted_mean(values: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """The mean of each sample's values that count: ``[B]``; 0 where none does.

    Args:
        values: ``[B, K, *spatial]``.
        counted: bool, to be broadcast to that; None: all.
    """
    if counted is None:
        return values.flatten(1).mean(dim=1)
    counted = counted.expand_as(values)
    return values.masked_fill(~counted, 0).flatten(1).sum(dim=1) / counted.flatten(1).sum(dim=1).clamp(min=1)


def has_label(counted: torch.Tensor) -> torch.Tensor:
    """The samples of which some entry counts: bool ``[B]``."""
    return counted.reshape(len(counted), -1).any(dim=1)
