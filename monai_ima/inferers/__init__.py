"""Sliding windows through which a gradient can be taken, padding that no attack reaches, averages of several passes."""

from .averaged import AveragedInferer
from .pad import PadInferer
from .sliding_window import GradientSlidingWindowInferer, gradient_inferer

__all__ = ["AveragedInferer", "GradientSlidingWindowInferer", "PadInferer", "gradient_inferer"]
