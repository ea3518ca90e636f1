"""Sliding windows through which a gradient can be taken."""

from .sliding_window import GradientSlidingWindowInferer, gradient_inferer

__all__ = ["GradientSlidingWindowInferer", "gradient_inferer"]
