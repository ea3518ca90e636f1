"""Figures. Every function returns a matplotlib figure; :func:`save_figure` writes it without a display."""

from .examples import Example, attack_examples, case_picture, classes_in_words
from .levels import Level, level_pictures
from .perturbed import perturbation_curves, perturbation_strip
from .plots import margin_histogram, robustness_curves, save_figure
from .volumes import volume_example

__all__ = [
    "Example",
    "Level",
    "attack_examples",
    "case_picture",
    "classes_in_words",
    "level_pictures",
    "margin_histogram",
    "perturbation_curves",
    "perturbation_strip",
    "robustness_curves",
    "save_figure",
    "volume_example",
]
