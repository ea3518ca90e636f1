"""Patients that lie otherwise: rotation, translation and elastic deformation, which labels follow."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence

import torch
from monai.networks.blocks import Warp

from monai_ima.utils.checks import check_count

from .base import Constants, InMillimetres
from .fields import smooth_field
from .norms import per_sample

__all__ = ["Elastic", "Rotation", "Translation", "check_rotatable", "rotation_change"]

Grid = torch.Size | tuple[int, ...]


class _Geometric(InMillimetres):
    """Base of perturbations that move voxels: images linearly, beyond the field as at its edge, labels by nearest
    neighbour."""

    geometric = True

    def __init__(self, norm: str = "l2", spacing: float | Sequence[float] | None = None) -> None:
        super().__init__(norm, spacing)

    @abstractmethod
    def displacement(self, theta: torch.Tensor, spacing: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Where each voxel takes its value from, relative to itself, in voxels: ``[B, d, *spatial]``."""

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        check_rotatable(self.name, image)
        return super().constants(image, spacing)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        return _moved(image, self.displacement(theta, constants["spacing"], image.shape[2:]))

    def change_label(self, label: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        offset = self.displacement(theta.double(), constants["spacing"].double(), label.shape[2:])
        return _warp(label.double(), offset, "nearest", "zeros").to(label.dtype)


class Rotation(_Geometric):
    """A rotation about the centre of the image, in mm space: voxels that are not cubes do not shear.

    θ is one angle in 2-D, from the first axis to the second, and in 3-D the rotation vector, whose direction is the
    axis and whose length the angle; in the default norm ``"l2"`` the size is the angle in degrees.

    Args:
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if ``spacing`` is not > 0 or ``norm`` another name; later, if images are not 2-D or 3-D.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
        >>> Rotation(spacing=1).apply(image, torch.tensor([[90.0]]))[0, 0].round().abs()
        tensor([[0., 0., 0.],
                [1., 0., 0.],
                [0., 0., 0.]])
    """

    name, title, unit = "rotation", "rotation", "degrees"
    levels = (5.0, 10.0, 20.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (check_rotatable(self.name, image),)

    def displacement(self, theta: torch.Tensor, spacing: torch.Tensor, grid: Grid) -> torch.Tensor:
        return _turned(theta, spacing, grid)


class Translation(_Geometric):
    """The object moves by θ along the axes, in mm; in the default norm ``"l2"`` the size is the distance.

    Args:
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if ``spacing`` is not > 0 or ``norm`` another name; later, if images are not 2-D or 3-D.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
        >>> Translation(spacing=2).apply(image, torch.tensor([[0.0, 2.0]]))
        tensor([[[[1., 1., 2.],
                  [4., 4., 5.]]]])
    """

    name, title, unit = "translation", "translation", "mm"
    levels = (1.0, 2.0, 5.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        check_rotatable(self.name, image)
        return (image.ndim - 2,)

    def displacement(self, theta: torch.Tensor, spacing: torch.Tensor, grid: Grid) -> torch.Tensor:
        shift = -theta / spacing
        return shift.view(*shift.shape, *[1] * len(grid)).expand(*shift.shape, *grid)


class Elastic(_Geometric):
    """A smooth deformation: the object moves by a field of displacements.

    θ ``[d, *points]`` are the field's control points along each axis in mm
    (:func:`~monai_ima.perturbations.fields.smooth_field`); in the norm ``"linf"`` of size ε no voxel moves by more than
    ε mm along any axis.

    Args:
        points: control points of each axis, >= 1; one is a translation.
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if ``points`` is below 1, ``spacing`` not > 0 or ``norm`` another name; later, if images are not
            2-D or 3-D.

    Example:
        >>> Elastic(spacing=1).shape(torch.zeros(1, 1, 8, 8))
        (2, 4, 4)
    """

    name, title, unit = "elastic", "elastic deformation", "mm"
    levels = (1.0, 2.0, 4.0)

    def __init__(self, points: int = 4, norm: str = "linf", spacing: float | Sequence[float] | None = None) -> None:
        super().__init__(norm, spacing)
        self.points = check_count("points", points, 1)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        check_rotatable(self.name, image)
        return (image.ndim - 2, *[self.points] * (image.ndim - 2))

    def displacement(self, theta: torch.Tensor, spacing: torch.Tensor, grid: Grid) -> torch.Tensor:
        field = smooth_field(theta.flatten(0, 1), grid).unflatten(0, theta.shape[:2])
        return -field / spacing.view(*spacing.shape, *[1] * len(grid))


def check_rotatable(name: str, image: torch.Tensor) -> int:
    """How many angles a rotation of these images has: 1 or 3.

    Raises:
        ValueError: if the images are not 2-D or 3-D, or have an axis of one voxel.
    """
    grid = image.shape[2:]
    if len(grid) not in (2, 3) or min(grid) < 2:
        raise ValueError(
            f"Got images of spatial size {tuple(grid)} for {name}, expected 2-D or 3-D with two voxels an axis or more."
        )
    return 1 if len(grid) == 2 else 3


def rotation_change(image: torch.Tensor, degrees: torch.Tensor, spacing: torch.Tensor) -> torch.Tensor:
    """What a rotation by ``degrees``, ``[B, 1]`` or ``[B, 3]`` (:class:`Rotation`), adds to the images."""
    return _moved(image, _turned(degrees, spacing, image.shape[2:]))


def _turned(degrees: torch.Tensor, spacing: torch.Tensor, grid: Grid) -> torch.Tensor:
    """By Rodrigues' formula."""
    axes = len(grid)
    planes = [(0, 1)] if axes == 2 else [(1, 2), (2, 0), (0, 1)]
    turn = degrees.new_zeros(len(degrees), axes, axes)
    for angle, (one, other) in zip((math.pi / 180 * degrees).unbind(1), planes, strict=True):
        turn[:, one, other], turn[:, other, one] = angle, -angle
    half_turns = per_sample(torch.linalg.vector_norm(degrees, dim=1) / 180, turn)
    backwards_less_one = half_turns.sinc() * turn + (half_turns / 2).sinc().square() / 2 * turn @ turn
    steps = [torch.arange(size, dtype=degrees.dtype, device=degrees.device) - (size - 1) / 2 for size in grid]
    scale = spacing.view(*spacing.shape, *[1] * axes)
    position = torch.stack(torch.meshgrid(*steps, indexing="ij")) * scale
    return torch.einsum("bij,bj...->bi...", backwards_less_one, position) / scale


def _moved(image: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return _warp(image, offset, "bilinear", "border") - _warp(image, torch.zeros_like(offset), "bilinear", "border")


def _warp(image: torch.Tensor, offset: torch.Tensor, mode: str, padding: str) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Using PyTorch native grid_sample")
        return Warp(mode, padding)(image, offset)
