"""Perturbation budgets in physical units: intensities of the image files in one unit that the network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_ima.results.parts import Units

from .intensity import find_normalisation
from .parts import EVALUATOR_ID, transforms_of
from .reading import read_training_config
from .task import image_key

__all__ = ["bundle_units"]


def bundle_units(bundle: str | Path, config: str, overrides: dict[str, Any]) -> Units | None:
    """The physical unit of the images that an evaluation loads; None where the config does not say or it varies.

    The config is read as text; no expression in it is evaluated.

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas.
        overrides: values of config ids.
    """
    parsed = read_training_config(bundle, config)
    parsed.content.update({key: value for key, value in overrides.items() if key in parsed.content})
    evaluator = parsed.component("evaluator" if "evaluator" in parsed else EVALUATOR_ID)
    dataset = parsed.inner(parsed.inner(evaluator, "val_data_loader"), "dataset")
    transforms = [] if dataset is None else transforms_of(parsed, dataset.at("transform"))
    normalisation = find_normalisation(parsed, transforms, image_key(parsed, transforms))
    if normalisation is None or normalisation.slope is None or abs(normalisation.slope) == 1:
        return None
    return Units(normalisation.unit, abs(normalisation.slope))
