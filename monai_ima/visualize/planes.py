"""Which anatomical plane a slice of a volume is."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

__all__ = ["Planes"]

PLANES = ("sagittal", "coronal", "axial")
"""Across the axes right, anterior and superior."""


class Planes:
    """How a volume lies in the patient.

    Args:
        affine: ``[4, 4]`` from voxels to mm, right, anterior and superior (RAS); None where it is not known.

    Example:
        >>> Planes(np.diag([-1.0, 1.0, 1.0, 1.0])).name(0, 2, (10, 12, 14))
        'sagittal, slice 7'
        >>> Planes(None).name(0, 2, (10, 12, 14))
        'axis 0, slice 2'
    """

    def __init__(self, affine: np.ndarray | None) -> None:
        found = None if affine is None else io_orientation(affine)
        self._found = None if found is None or np.isnan(found).any() else found

    def upright(self, volume: np.ndarray) -> np.ndarray:
        """A volume ``[X, Y, Z]`` with its axes turned to right, anterior and superior; as stored where unknown."""
        return volume if self._found is None else apply_orientation(volume, self._found)

    def name(self, axis: int, index: int, shape: tuple[int, ...]) -> str:
        """The plane across an axis of the :meth:`upright` volume, and the number of the slice in the stored one.

        Args:
            axis: of the upright volume.
            index: of the slice in the upright volume.
            shape: of the upright volume.
        """
        if self._found is None:
            return f"axis {axis}, slice {index}"
        (flip,) = self._found[self._found[:, 0] == axis, 1]
        return f"{PLANES[axis]}, slice {index if flip == 1 else shape[axis] - 1 - index}"
