"""Sliding windows through which a gradient can be taken, padding that no attack reaches, averages of several passes."""

from .sliding_window import GradientSlidingWindowInferer, gradient_inferer
from .wrappers import AveragedInferer, PadInferer

__all__ = ["AveragedInferer", "GradientSlidingWindowInferer", "PadInferer", "gradient_inferer"]
