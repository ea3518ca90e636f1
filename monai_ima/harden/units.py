"""Perturbation budgets in physical units: intensities of the image files in one unit that the network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_ima.results.schema import Units

from .intensity import find_normalisation
from .parts import transforms_of
from .reading import SEPARATOR, read_training_config

__all__ = ["bundle_units"]

EVALUATORS = ("evaluator", f"validate{SEPARATOR}evaluator")


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
    evaluator = next((parsed.component(name) for name in EVALUATORS if name in parsed), None)
    loader = None if evaluator is None else parsed.component(f"{evaluator.id}{SEPARATOR}val_data_loader")
    dataset = None if loader is None else parsed.component(f"{loader.id}{SEPARATOR}dataset")
    transforms = [] if dataset is None else transforms_of(parsed, f"{dataset.id}{SEPARATOR}transform")
    loads = next((t for t in transforms if t.name.startswith("LoadImage")), None)
    keys = "image" if loads is None else parsed.value(f"{loads.id}{SEPARATOR}keys", "image")
    normalisation = find_normalisation(parsed, transforms, keys if isinstance(keys, str) else keys[0])
    if normalisation is None or normalisation.slope is None or abs(normalisation.slope) == 1:
        return None
    return Units(normalisation.unit, abs(normalisation.slope))
