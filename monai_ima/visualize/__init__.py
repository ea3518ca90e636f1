"""Figures. Every function returns a matplotlib figure; :func:`save_figure` writes it without a display."""

from .case import case_picture
from .curves import robustness_curves
from .examples import Example, attack_examples
from .figure import save_figure
from .histogram import margin_histogram
from .volumes import volume_example

__all__ = [
    "Example",
    "attack_examples",
    "case_picture",
    "margin_histogram",
    "robustness_curves",
    "save_figure",
    "volume_example",
]
