from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_ima.from_files.settings import FileSettings

from .arguments import unknown_option
from .options import config_overrides, option_names

__all__ = ["EvaluateOptions", "evaluate"]


class EvaluateOptions(FileSettings):
    """The options of ``monai-ima evaluate``: the settings of an evaluation of a bundle, or of files."""


def evaluate(options: EvaluateOptions, further: Mapping[str, Any]) -> None:
    """Measure how robust a trained network is: accuracy, or Dice, under attack at rising perturbation budgets.

    Takes a bundle (--bundle), or a model file and folders of images and labels (--model, --images, --labels). Runs the
    bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR.
    Writes results.json (every number, per sample too, with 95 % intervals over patients or samples),
    results.csv (one row a level), curve.png and pictures: for a classifier accuracy by class, and clean image, noise
    and adversarial image; for a segmentation Dice by class, surface Dice and HD95, and three planes of a scan with
    the contours of label and predictions; of the worst cases each in cases/. Nothing is overwritten. An interrupted
    evaluation is resumed by the same command. `monai-ima report` makes a report of it.

    \b
    Example: monai-ima evaluate --bundle BUNDLE --levels 0,0.01,0.02 --checks
    """
    overrides = _overrides(options, further)
    from .evaluation_run import run_evaluation

    run_evaluation(options.model_copy(update={"overrides": overrides}))


def _overrides(options: EvaluateOptions, further: Mapping[str, Any]) -> dict[str, Any]:
    """The further options as ids of the bundle's config; there are none without a bundle."""
    if options.model is None:
        return config_overrides("evaluate", options, further)
    for name in further:
        raise unknown_option(name, option_names(options), "an option of evaluate (see --help): --model has no config")
    return {}
