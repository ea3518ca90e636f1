"""Sliding windows with a gradient, padding that no attack reaches, averaged passes, one of the outputs."""

from .sliding_window import GradientSlidingWindowInferer, gradient_inferer
from .wrappers import AveragedInferer, OutputInferer, PadInferer

__all__ = ["AveragedInferer", "GradientSlidingWindowInferer", "OutputInferer", "PadInferer", "gradient_inferer"]
