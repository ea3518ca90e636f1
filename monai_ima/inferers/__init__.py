"""Sliding windows through which a gradient can be taken, and padding that no attack reaches."""

from .pad import PadInferer
from .sliding_window import GradientSlidingWindowInferer, gradient_inferer

__all__ = ["GradientSlidingWindowInferer", "PadInferer", "gradient_inferer"]
