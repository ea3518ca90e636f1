"""What an attack needs to know of a batch, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from .predictor import Predictor
from .spacing import scan_spacings, where_all_known
from .tensors import plain, row_count, select_rows

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """A batch on the network's device, without metadata.

    Attributes:
        predict: from images to logits, with the inferer and extra inputs of the network.
        image: ``[B, C, *spatial]``.
        label: one row per sample; several labels as a dictionary.
        sample_ids: one per sample.
        spacings: mm per voxel along each axis, one list per sample; None where an image does not say.

    Example:
        >>> batch = Batch.of(torch.nn.Flatten(), torch.rand(3, 1, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> batch.select([0, 2]).sample_ids, batch.predict(batch.image).shape
        (['a', 'c'], torch.Size([3, 2]))
    """

    predict: Predictor
    image: torch.Tensor
    label: Any
    sample_ids: list[str]
    spacings: list[list[float] | None] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        if not self.spacings:
            object.__setattr__(self, "spacings", [None] * len(self.sample_ids))

    @property
    def spacing(self) -> torch.Tensor | None:
        """mm per voxel: float64 ``[B, d]``; None where an image does not say."""
        return where_all_known(self.spacings)

    @classmethod
    def of(
        cls,
        network: Callable[[torch.Tensor], Any],
        image: torch.Tensor,
        label: Any,
        sample_ids: Sequence[str],
    ) -> Self:
        """The batch of a plain training loop.

        Args:
            network: from images to logits.
            image: ``[B, C, *spatial]``, on the network's device; a ``MetaTensor``'s affine gives the voxel size.
            label: one row per sample, on the same device.
            sample_ids: one per sample, the same in every epoch.

        Raises:
            ValueError: if there is not one label and one id for each image.
        """
        labels = row_count(label)
        if not len(image) == labels == len(sample_ids):
            raise ValueError(
                f"Got {len(image)} images, {labels} labels and {len(sample_ids)} ids, expected as many of each."
            )
        predict, spacings = Predictor.of(network, len(image)), scan_spacings(image)
        return cls(predict, plain(image), plain(label), list(sample_ids), spacings=spacings)

    def select(self, rows: Sequence[int] | torch.Tensor) -> Self:
        """The samples at these rows only, in rising order: int ``[n]``."""
        if len(rows) == len(self.image):
            return self
        index = plain(torch.as_tensor(rows, device=self.image.device))
        lists = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        chosen = {name: [value[row] for row in index.tolist()] for name, value in lists.items()}
        label = select_rows(self.label, index, len(self.image))
        predict, image = self.predict.select(index), self.image[index]
        return replace(self, predict=predict, image=image, label=label, **chosen)
