"""Transforms: array versions do the work, dictionary versions map keys."""

from .boundary import BoundaryNoised
from .center_square import CenterSquareCrop, CenterSquareCropd
from .intensity import intensity_bounds, intensity_scaling
from .noise import RandUniformNoise, RandUniformNoised
from .sample_id import SampleIdd, with_sample_id

__all__ = [
    "BoundaryNoised",
    "CenterSquareCrop",
    "CenterSquareCropd",
    "RandUniformNoise",
    "RandUniformNoised",
    "SampleIdd",
    "intensity_bounds",
    "intensity_scaling",
    "with_sample_id",
]
