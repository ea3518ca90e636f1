"""Transforms: array versions do the work, dictionary versions map keys."""

from .boundary import BoundaryNoised
from .center_square import CenterSquareCrop, CenterSquareCropd
from .noise import RandUniformNoise, RandUniformNoised
from .sample_id import SampleIdd, with_sample_id

__all__ = [
    "BoundaryNoised",
    "CenterSquareCrop",
    "CenterSquareCropd",
    "RandUniformNoise",
    "RandUniformNoised",
    "SampleIdd",
    "with_sample_id",
]
