"""Segmentation outputs and labels as one binary map per class."""

from __future__ import annotations

import torch

from .errors import SampleError

__all__ = ["first_head", "label_maps", "prediction_maps"]


def first_head(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """``[B, K, *spatial]`` logits; of deep-supervision heads stacked as ``[B, heads, K, *spatial]`` the first.

    Raises:
        ValueError: when logits and label are not of one batch and one grid, 2-D or 3-D.
    """
    if logits.ndim == label.ndim + 1:
        logits = logits[:, 0]
    if logits.ndim not in (4, 5) or logits.shape[:1] + logits.shape[2:] != label.shape[:1] + label.shape[2:]:
        raise ValueError(
            f"Got logits of shape {tuple(logits.shape)} and labels of shape {tuple(label.shape)}, expected "
            "[B, K, *spatial] and [B, 1, *spatial] or [B, K, *spatial] on one 2-D or 3-D grid."
        )
    return logits


def prediction_maps(logits: torch.Tensor, sigmoid: bool) -> torch.Tensor:
    """What is predicted, from ``[B, K, *spatial]`` logits: float maps of 0 and 1 of the same shape."""
    if sigmoid:
        return (logits >= 0).float()
    return _one_hot(logits.max(dim=1, keepdim=True).indices, logits.shape[1])


def label_maps(label: torch.Tensor, channels: int, sigmoid: bool) -> torch.Tensor:
    """A label as float maps of 0 and 1, ``[B, K, *spatial]``.

    Args:
        label: class indices ``[B, 1, *spatial]`` (not with ``sigmoid``, unless K is 1) or one-hot ``[B, K, *spatial]``.
        channels: K, of the logits; at least 2 without ``sigmoid``.
        sigmoid: channels are independent of each other; else every voxel has one class.

    Raises:
        ValueError: when the label has neither 1 nor K channels, or K is 1 without ``sigmoid``.
        SampleError: when values are not integers in 0..K-1, or one-hot maps are not.
    """
    if channels == 1 and not sigmoid:
        raise ValueError("Got logits of one channel, expected two or more, or sigmoid=True.")
    if label.shape[1] not in ({channels} if sigmoid else {1, channels}):
        raise ValueError(
            f"Got labels of {label.shape[1]} channels for logits of {channels}, expected {channels} binary maps"
            + ("." if sigmoid else " or 1 map of class indices.")
        )
    if label.shape[1] == 1 and not sigmoid:
        index = label.long()
        _refuse((index != label) | (index < 0) | (index >= channels), label, f"integers in 0..{channels - 1}")
        return _one_hot(index, channels)
    _refuse((label != 0) & (label != 1), label, "binary maps of 0 and 1")
    if not sigmoid:
        _refuse(label.sum(dim=1, keepdim=True) != 1, label, "one class at every voxel (or sigmoid=True)")
    return label.float()


def _one_hot(index: torch.Tensor, channels: int) -> torch.Tensor:
    # On a CPU ten times faster than scattering; so is max(...).indices compared with argmax.
    classes = torch.arange(channels, device=index.device).view(-1, *([1] * (index.ndim - 2)))
    return (index == classes).float()


def _refuse(bad: torch.Tensor, label: torch.Tensor, expected: str) -> None:
    if bad.any():
        sample = int(bad.flatten(1).any(dim=1).nonzero()[0])
        wrong = bad[sample].expand_as(label[sample])
        value = float(label[sample][wrong][0])
        raise SampleError(sample, f"has a label with the value {value:g} where it cannot be, expected {expected}.")
