from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from monai_ima.results.settings import EvaluationSettings

from .options import config_overrides

__all__ = ["EvaluateOptions", "evaluate"]


class EvaluateOptions(EvaluationSettings):
    """The options of ``monai-ima evaluate``: the settings of an evaluation that has a bundle."""

    bundle: Annotated[str, "Folder of the bundle."]


def evaluate(options: EvaluateOptions, further: Mapping[str, Any]) -> None:
    """Measure how robust a trained bundle is: accuracy, or Dice, under attack at rising perturbation budgets.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR.
    Writes results.json (every number, per sample too, with 95 % intervals over patients or samples),
    results.csv (one row a level), curve.png and pictures: for a classifier accuracy by class, and clean image, noise
    x 10 and adversarial image; for a segmentation Dice by class, surface Dice and HD95, and three planes of a scan with
    the contours of label and predictions; of the worst ten cases each in cases/. Nothing is overwritten. An interrupted
    evaluation is resumed by the same command. `monai-ima report` makes a report of it.

    \b
    Example: monai-ima evaluate --bundle DIR --levels 0,0.01,0.02 --attack pgd100x2+apgd100-dlr --checks
    """
    overrides = config_overrides("evaluate", options, further)
    from .evaluation_run import run

    run(options.model_copy(update={"overrides": overrides}))
