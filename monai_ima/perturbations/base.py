"""What a perturbation with parameters is: a forward model from an image and θ to the changed image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from monai_ima.utils.checks import is_number, shown
from monai_ima.utils.spacing import image_spacing
from monai_ima.utils.tensors import at_least_float32, check_finite, check_tensor, plain

from .norms import Norm, get_norm

__all__ = ["Constants", "Fitted", "InMillimetres", "Perturbation", "with_background"]

Constants = Mapping[str, torch.Tensor]
"""What a forward model takes from the clean images, one row per sample."""


class Perturbation(ABC):
    """A change of images that has parameters θ, and a size ``‖θ‖`` in a unit with a name.

    θ is ``[B, *shape]``, one row per sample, in the perturbation's unit; 0 means no change, bit for bit. Attacks with
    ``perturbation=`` climb in θ, and everything that is otherwise said of noise (ε, distance, margin) is then said of
    ``‖θ‖``. The forward model works on what the network sees, after its normalisation.

    Args:
        norm: of θ, ``"l2"`` or ``"linf"``.

    Attributes:
        name: short, as on the command line.
        title: in words.
        unit: of θ and of ε.
        levels: sizes that are measured where no others are asked for, rising.
        geometric: voxels move, and labels with them (:meth:`apply_label`).
        patterned: it adds a random pattern, of which each link of a chain has its own (:attr:`stream`).
        largest: size beyond which it says nothing.
        stream: which of the patterns of an image it takes.

    Raises:
        ValueError: if ``norm`` is another name.

    Example:
        >>> class Brighter(Perturbation):
        ...     name, title, unit, levels = "brighter", "brightness", "grey levels", (1.0, 5.0)
        ...     def shape(self, image):
        ...         return (1,)
        ...     def change(self, image, theta, constants):
        ...         return theta[:, :, None, None].expand_as(image)
        >>> Brighter().apply(torch.zeros(1, 1, 1, 2), torch.tensor([[2.0]]))
        tensor([[[[2., 2.]]]])
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    levels: ClassVar[tuple[float, ...]]
    geometric: ClassVar[bool] = False
    patterned: ClassVar[bool] = False
    largest: ClassVar[float] = math.inf
    stream: int = 0

    def __init__(self, norm: str = "linf") -> None:
        self.norm: Norm = get_norm(norm)

    @abstractmethod
    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        """The shape of one sample's θ, for images ``[B, C, *spatial]``."""

    @abstractmethod
    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        """What is added to the images, differentiable in θ and exactly 0 where θ is 0.

        Args:
            image: ``[B, C, *spatial]``, the clean images, or what an earlier link of a chain has made of them.
            theta: ``[B, *shape]``.
            constants: what :meth:`constants` returned for the clean images.
        """

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        """What the forward model takes from the clean images.

        Args:
            image: ``[B, C, *spatial]``.
            spacing: mm per voxel, ``[B, d]``; None where it is unknown.
        """
        return {}

    def change_label(self, label: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        """The label maps of the changed images, 0 where they come from outside: themselves, unless voxels move."""
        return label

    def fit(self, image: torch.Tensor, spacing: torch.Tensor | None = None) -> Fitted:
        """The forward model for a batch.

        Args:
            image: ``[B, C, *spatial]``, clean; a ``MetaTensor``'s affine gives the voxel size.
            spacing: mm per voxel, ``[B, d]``, ``[d]`` or one number, in place of that.

        Raises:
            ValueError: if the perturbation is not made for images of so many dimensions, or its unit is mm and the
                voxel size unknown.
        """
        spacing = image_spacing(image) if spacing is None else _checked_spacing(spacing, image)
        image = plain(image).detach()
        if image.ndim < 3 or not image.is_floating_point():
            raise ValueError(
                f"Got images of shape {tuple(image.shape)} and type {image.dtype} for {self.name}, expected floating "
                "point [B, C, *spatial]."
            )
        return Fitted(self, image, self.constants(at_least_float32(image), spacing))

    def apply(self, image: torch.Tensor, theta: torch.Tensor, spacing: torch.Tensor | None = None) -> torch.Tensor:
        """The changed images: ``[B, C, *spatial]``; see :meth:`fit` for the arguments."""
        fitted = self.fit(image, spacing)
        return fitted.apply(self._theta(fitted.image, theta))

    def apply_label(
        self, label: torch.Tensor, theta: torch.Tensor, image: torch.Tensor, spacing: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The labels of the changed images, by nearest neighbour where voxels move.

        Args:
            label: maps move, ``[B, C, *spatial]`` or ``[B, *spatial]``; classes stay. Background comes in from outside:
                0, of one-hot maps its channel.
            theta: ``[B, *shape]``.
            image: the clean images.
            spacing: see :meth:`fit`.
        """
        fitted = self.fit(image, spacing)
        return fitted.apply_label(label, self._theta(fitted.image, theta))

    def label_maps(self, label: torch.Tensor, image: torch.Tensor) -> torch.Tensor | None:
        """The label maps that move with the images, ``[B, C, *spatial]``; None where labels stay.

        Raises:
            ValueError: if voxels move and a label map is on another grid.
        """
        if not self.geometric or label.ndim < 3:
            return None
        maps = label.unsqueeze(1) if label.shape[1:] == image.shape[2:] else label
        if maps.shape[2:] != image.shape[2:]:
            raise ValueError(
                f"Got labels of shape {tuple(label.shape)} for images of {tuple(image.shape)} under {self.name}, "
                "expected label maps on the images' grid, which move with it."
            )
        return maps

    def norm_of(self, image: torch.Tensor) -> Norm:
        """The norm of θ for images of this shape."""
        return self.norm

    def size(self, theta: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """``‖θ‖`` of each sample, in :attr:`unit`: float ``[B]``."""
        return self.norm_of(image).length(self._theta(image, theta))

    def _theta(self, image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        expected = (len(image), *self.shape(image))
        if check_tensor("theta", theta).shape != expected:
            raise ValueError(f"Got θ of shape {tuple(theta.shape)} for {self.name}, expected {expected}.")
        check_finite(theta, "a θ")
        return theta

    @property
    def label(self) -> str:
        """What it is called where sizes are shown: ``"bias field, %"``."""
        return f"{self.title}, {self.unit}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.norm.name}, {self.unit})"


@dataclass(frozen=True)
class Fitted:
    """A perturbation with what it takes from a batch of clean images.

    Attributes:
        perturbation: the forward model.
        image: ``[B, C, *spatial]``, clean.
        constants: one row per sample.

    Example:
        >>> from monai_ima.perturbations import IntensityShift
        >>> fitted = IntensityShift().fit(torch.rand(2, 1, 4, 4))
        >>> torch.equal(fitted.apply(fitted.zero()), fitted.image)
        True
    """

    perturbation: Perturbation
    image: torch.Tensor
    constants: Constants

    def zero(self) -> torch.Tensor:
        """θ of no change: ``[B, *shape]``."""
        return at_least_float32(self.image).new_zeros(len(self.image), *self.perturbation.shape(self.image))

    def apply(self, theta: torch.Tensor) -> torch.Tensor:
        """The changed images, of the clean ones' type; computed in float32 at least, also under autocast."""
        with torch.autocast(self.image.device.type, enabled=False):
            image = at_least_float32(self.image)
            return (image + self.perturbation.change(image, theta, self.constants)).to(self.image.dtype)

    def apply_label(self, label: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """The labels of the changed images.

        Raises:
            ValueError: if voxels move and a label map is on another grid.
        """
        maps = self.perturbation.label_maps(label, self.image)
        if maps is None:
            return label
        with torch.autocast(self.image.device.type, enabled=False):
            moved = self.perturbation.change_label(maps, theta, self.constants)
        return with_background(moved, maps).view_as(label)

    def select(self, index: torch.Tensor) -> Fitted:
        """For the samples at ``index`` only."""
        constants = {name: value[index] for name, value in self.constants.items()}
        return Fitted(self.perturbation, self.image[index], constants)


class InMillimetres(Perturbation):
    """Base of the perturbations that need to know how large a voxel is.

    Args:
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if a number is not > 0, or ``norm`` is another name.

    Example:
        >>> class Shift(InMillimetres):
        ...     name, title, unit, levels = "shift", "shift", "mm", (1.0,)
        ...     def shape(self, image):
        ...         return (1,)
        ...     def change(self, image, theta, constants):
        ...         voxels = theta / constants["spacing"]  # of a real one the image follows
        ...         return 0 * voxels[..., None] * image
        >>> Shift(spacing=2.0).fit(torch.zeros(1, 1, 8)).constants["spacing"]
        tensor([[2.]])
    """

    def __init__(self, norm: str = "linf", spacing: float | Sequence[float] | None = None) -> None:
        super().__init__(norm)
        values = tuple(spacing) if isinstance(spacing, Sequence) else () if spacing is None else (spacing,)
        if spacing is not None and (not values or not all(is_number(value) and value > 0 for value in values)):
            raise ValueError(f"Got spacing {shown(spacing)}, expected mm per voxel > 0, one number or one per axis.")
        self.spacing = values

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        axes = image.ndim - 2
        if self.spacing:
            if len(self.spacing) not in (1, axes):
                raise ValueError(f"Got spacing {self.spacing} for images of {axes} axes, expected one value or {axes}.")
            spacing = image.new_tensor(self.spacing).expand(len(image), axes)
        if spacing is None:
            raise ValueError(
                f"The images do not know how large their voxels are, which {self.name} needs, expected a MetaTensor "
                "with an affine, or spacing= in mm (1: sizes are in voxels)."
            )
        return {"spacing": spacing.to(image)}


def with_background(moved: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Moved label maps, in which what comes from outside is background: 0, of one-hot maps their first channel.

    Args:
        moved: ``[B, C, *spatial]``, 0 in all channels where it comes from outside.
        clean: the label maps before.

    Example:
        >>> with_background(torch.tensor([[[0, 0], [0, 1]]]), clean=torch.tensor([[[1, 0], [0, 1]]]))
        tensor([[[1, 0],
                 [0, 1]]])
    """
    if clean.shape[1] == 1 or not bool((clean.sum(dim=1) == 1).all()):
        return moved
    outside = moved.sum(dim=1, keepdim=True) == 0
    return torch.cat([moved[:, :1].masked_fill(outside, 1), moved[:, 1:]], dim=1)


def _checked_spacing(spacing: Any, image: torch.Tensor) -> torch.Tensor:
    """mm per voxel of every sample and axis: float64 ``[B, d]``."""
    expected = (len(image), image.ndim - 2)
    try:
        found = torch.as_tensor(spacing, dtype=torch.float64)
        found = found.to(image.device).expand(expected)
    except (TypeError, ValueError, RuntimeError):
        found = torch.full(expected, math.nan)
    if not (torch.isfinite(found) & (found > 0)).all():
        raise ValueError(
            f"Got spacing {shown(spacing)} for images of shape {tuple(image.shape)}, expected mm per voxel > 0: one "
            f"number, one per axis, or a tensor {list(expected)}."
        )
    return found
