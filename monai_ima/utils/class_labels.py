"""Labels of which one class is right, as indices: integers, near-integers and one-hot rows."""

from __future__ import annotations

import torch

from .errors import SampleError
from .known_labels import labels_are_known
from .label_maps import NEAR

__all__ = ["class_indices", "classes_of"]


def classes_of(label: torch.Tensor) -> torch.Tensor:
    """The class of every valid label, int64 ``[B]``.

    Args:
        label: as for :func:`class_indices`, checked.

    Example:
        >>> classes_of(torch.tensor([2.0, 0.999])), classes_of(torch.tensor([[0, 0, 1], [1, 0, 0]]))
        (tensor([2, 1]), tensor([2, 0]))
    """
    if label.shape[1:].numel() != 1:
        return label.to(torch.float32).argmax(dim=1)
    flat = label.reshape(len(label))
    return (flat.round() if flat.is_floating_point() else flat).long()


def class_indices(
    label: torch.Tensor, classes: int, ignore_index: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels as class indices, int64 ``[B]`` (0 where none counts), and which of them count, bool ``[B]``.

    Of one-hot rows ``ignore_index`` leaves out those of its class, those that hold it, and, where it is no class, those
    of zeros alone.

    Args:
        label: indices ``[B]`` or ``[B, 1]``, of any type if they are within 0.01 of an integer; or one-hot ``[B, K]``.
        classes: K, >= 2.
        ignore_index: the label that counts nowhere; None: all count.

    Raises:
        ValueError: if the shape or the type is another one.
        SampleError: if a label is no class in 0..K-1.
    """
    batch = len(label)
    one_hot = label.shape == (batch, classes)
    if label.is_complex() or not (one_hot or (label.shape[1:].numel() == 1 and label.ndim < 3)):
        raise _unsuited(label)
    if label.dtype == torch.bool and not one_hot:
        raise _unsuited(label)
    found = classes_of(label)
    value = label if label.is_floating_point() else label.long()
    if one_hot:
        counted = _counted_rows(value, ignore_index)
    else:
        counted = torch.ones_like(found, dtype=torch.bool) if ignore_index is None else found != ignore_index
    if not labels_are_known():
        _refuse(value if one_hot else value.reshape(batch), found, classes, counted)
    return found if ignore_index is None else found.masked_fill(~counted, 0), counted


def _refuse(value: torch.Tensor, found: torch.Tensor, classes: int, counted: torch.Tensor) -> None:
    if value.ndim == 2:
        one = _near(value, 1)
        bad = ~((one | _near(value, 0)).all(dim=1) & (one.sum(dim=1) == 1))
        expected = f"one class as an index or one-hot, {classes} values of which one is 1"
    else:
        bad = ~_near(value, found) | (found < 0) | (found >= classes)
        expected = f"a class in 0..{classes - 1}"
    bad &= counted
    if bad.any():
        sample = int(bad.nonzero()[0])
        shown = value[sample].tolist() if value.ndim == 2 else f"{value[sample].item():g}"
        raise SampleError(sample, f"has label {shown}, expected {expected}.")


def _counted_rows(rows: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    counted = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    if ignore_index is None:
        return counted
    is_class = 0 <= ignore_index < rows.shape[1]
    counted &= ~(_near(rows[:, ignore_index], 1) if is_class else _near(rows, 0).all(dim=1))
    return counted if ignore_index in (0, 1) else counted & ~_near(rows, ignore_index).any(dim=1)


def _near(values: torch.Tensor, value: float | torch.Tensor) -> torch.Tensor:
    return (values - value).abs() <= NEAR


def _unsuited(label: torch.Tensor) -> ValueError:
    return ValueError(
        f"Got labels of shape {tuple(label.shape)} and type {label.dtype}, expected class indices, [B] or [B, 1], or "
        "one-hot [B, K]."
    )
