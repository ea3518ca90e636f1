"""What was not finite in an attack, told of once at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from monai_ima.utils.errors import SampleError

__all__ = ["Health"]

KINDS = ("a gradient", "a loss", "a prediction")
"""What a sample had with NaN or infinity, the cause after its consequences."""


class Health:
    """Which samples of a batch had values that are not finite: noted at every step, read once.

    Reading a flag makes the host wait for the device, at every step of an attack for longer than a small network takes.

    Args:
        count: B, number of samples.
        device: of the samples.

    Example:
        >>> health = Health(2, "cpu")
        >>> health.note(torch.tensor([0, 1]), prediction=torch.tensor([[0.0, 1.0], [2.0, torch.nan]]))
        >>> health.check()
        Traceback (most recent call last):
        ...
        monai_ima.utils.errors.SampleError: Sample 1 of the batch has a prediction with NaN or infinity, ...
    """

    def __init__(self, count: int, device: torch.device | str) -> None:
        self._found = [torch.zeros(count, device=device) for _ in KINDS]

    def note(
        self,
        rows: torch.Tensor,
        prediction: torch.Tensor | None = None,
        loss: torch.Tensor | None = None,
        gradient: torch.Tensor | None = None,
    ) -> None:
        """Take in what an attack computed.

        Args:
            rows: int ``[A]``, whose values these are.
            prediction: ``[A, ...]``; None: not computed, as for the others.
            loss: ``[A]``.
            gradient: ``[A, ...]``.
        """
        for found, value in zip(self._found, (gradient, loss, prediction), strict=True):
            if value is not None and value.is_floating_point():
                zero_or_nan = (value.detach().reshape(len(value), -1) * 0).sum(dim=1)
                found.index_add_(0, rows, zero_or_nan.to(found.dtype))

    @contextmanager
    def told_of(self) -> Iterator[None]:
        """:meth:`check` at the end of the context, and in place of an error that such values led to."""
        try:
            yield
        except Exception:
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Read what was noted.

        Raises:
            SampleError: if a value was NaN or infinite.
        """
        found = torch.stack(self._found).isnan()
        if found.any():
            sample = int(found.any(dim=0).nonzero()[0])
            what = KINDS[int(found[:, sample].nonzero()[-1])]
            raise SampleError(sample, f"has {what} with NaN or infinity, expected finite values only.")
