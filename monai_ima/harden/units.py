"""Perturbation budgets in physical units: intensities of the image files in one unit that the network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_ima.results.parts import Units

from .loading import find_evaluation
from .reading import evaluation_files

__all__ = ["bundle_units"]


def bundle_units(
    bundle: str | Path, config: str | None, overrides: dict[str, Any], of_files: bool = False
) -> Units | None:
    """The unit of the images that an evaluation loads; None where the config does not say or it varies.

    The config is read as text; no expression in it is evaluated.

    Args:
        bundle: the bundle's folder.
        config: see :func:`~monai_ima.harden.reading.evaluation_files`.
        overrides: values of config ids.
        of_files: the image files' only; else, of images that are divided by their own standard deviation, that one.
    """
    normalisation = find_evaluation(bundle, evaluation_files(bundle, config), overrides).normalisation
    if normalisation is None:
        return None
    return normalisation.file_units if of_files else normalisation.units
