"""One sample as TorchIO takes it, and its parameters at a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch

from monai_ima.perturbations.fields import floor_of, range_of

__all__ = ["Changed", "Sample", "centred", "torchio"]

Changed = tuple[torch.Tensor, torch.Tensor | None]
"""A changed image, and its moved label."""


@dataclass(frozen=True)
class Sample:
    """One sample that is to be changed, on the CPU.

    Attributes:
        perturbation: says what the size is of.
        size: > 0, in its unit.
        image: float32 ``[C, *spatial]``, 2-D or 3-D.
        label: float32 ``[C, *spatial]`` on the same grid, if it is to move with the image, else None.
        spacing: mm per voxel along each axis.

    Example:
        >>> from monai_ima.perturbations import Translation
        >>> sample = Sample(Translation(spacing=1), 5.0, torch.zeros(1, 8, 8), None, (1.0, 1.0))
        >>> sample.of_size(torch.tensor([0.375, 0.5])).tolist()
        [3.0, 4.0]
    """

    perturbation: Any
    size: float
    image: torch.Tensor
    label: torch.Tensor | None
    spacing: tuple[float, ...]

    @property
    def axes(self) -> int:
        """Spatial ones."""
        return self.image.ndim - 1

    def length(self, parameters: torch.Tensor) -> float:
        """The perturbation's norm of parameters."""
        return float(self.perturbation.norm.length(parameters.unsqueeze(0).double()))

    def of_size(self, drawn: torch.Tensor) -> torch.Tensor:
        """Drawn parameters, scaled so that their norm is the size."""
        return drawn.double() * (self.size / self.length(drawn))

    @property
    def fraction(self) -> float:
        """What all control points are, as a fraction, where they are equal and their norm is the size."""
        return self.size / 100 / self.length(torch.ones(self.perturbation.shape(self.image.unsqueeze(0))))

    def volume(self, image: torch.Tensor) -> Any:
        """``[C, *spatial]`` as TorchIO's image, its centre at the origin, a plane with a depth of 1."""
        return torchio().ScalarImage(tensor=self.deep(image), affine=self.affine)

    def deep(self, image: torch.Tensor) -> torch.Tensor:
        """With a depth, of 1 in a plane: ``[C, X, Y, Z]``."""
        return image.unsqueeze(-1) if self.axes == 2 else image

    def flat(self, image: torch.Tensor) -> torch.Tensor:
        """``[C, X, Y, Z]`` without the depth of a plane."""
        return image.squeeze(-1) if self.axes == 2 else image

    @property
    def affine(self) -> np.ndarray:
        """Of :meth:`volume`."""
        return centred(self.deep(self.image), [*self.spacing, 1.0][:3])

    def changed(self, transform: Any) -> Changed:
        """What an intensity transform makes of the image."""
        return self.flat(transform(self.volume(self.image)).data), None

    def moved(self, transform: Any) -> Changed:
        """What a spatial transform makes of image and label."""
        images = {"image": self.volume(self.image)}
        if self.label is not None:
            images["label"] = torchio().LabelMap(tensor=self.deep(self.label), affine=self.affine)
        found = transform(torchio().Subject(images))
        return self.flat(found["image"].data), None if self.label is None else self.flat(found["label"].data)

    @cached_property
    def unit(self) -> Sample:
        """The same of intensities 0..1 in each channel."""
        extent = self._range
        return replace(self, image=(self.image - self._floor) / torch.where(extent > 0, extent, 1))

    def from_unit(self, changed: torch.Tensor) -> torch.Tensor:
        """In the image's own intensities; a channel without any range stays."""
        return self._floor + self._range * changed

    @property
    def _floor(self) -> torch.Tensor:
        return floor_of(self.image.unsqueeze(0))[0]

    @property
    def _range(self) -> torch.Tensor:
        return range_of(self.image.unsqueeze(0))[0]

    def changed_unit(self, transform: Any) -> Changed:
        """What a transform makes of intensities 0..1, in the image's own."""
        return self.from_unit(self.unit.changed(transform)[0]), None


def centred(image: torch.Tensor, spacing: Sequence[float]) -> np.ndarray:
    """The affine of an image ``[C, X, Y, Z]`` with the centre at the origin, about which TorchIO's motion turns.

    Example:
        >>> centred(torch.zeros(1, 5, 3, 2), (1.0, 2.0, 1.0))[:, 3].tolist()
        [-2.0, -2.0, -0.5, 1.0]
    """
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(image.shape[1:]) - 1) / 2
    return affine


def torchio() -> ModuleType:
    """The library.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import torchio as library
    except ImportError as error:
        raise ImportError("TorchIO is needed for its random transforms: pip install 'monai-ima[torchio]'") from error
    return library
