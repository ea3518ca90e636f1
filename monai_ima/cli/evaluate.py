from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from .arguments import config_overrides
from .options import BundleOptions

__all__ = ["EvaluateOptions", "evaluate"]

ATTACKS = (
    "pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128 (gradient-free: "
    "100 steps of 128 directions) or noise100 (draws of uniform random noise); for segmentations also pgd100x2-dice "
    "and pgd100x2-ce (one loss alone); several joined by + (the worst counts; a sample that one of them broke is not "
    "attacked again). Default: pgd100x2; for segmentations on Dice and cross-entropy, together and each alone."
)
CROSSCHECK = (
    "Verify on 100 samples (4 scans) with independent code: ART and foolbox for classifiers (needs `pip install "
    "'monai-ima[crosscheck]'`), a brute-force search for segmentations."
)
MINIMUM = "Find the smallest perturbation that changes each prediction, up to the highest level (classifiers)."
TRANSFER = (
    "Weights of another model of the same network, for --checks: a transfer attack from it must not be the stronger."
)
UNITS = "Of the levels: network, or raw: those of the image files (HU for CT), where all images are scaled alike."


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BundleOptions):
    """The options of ``monai-ima evaluate``."""

    levels: Annotated[tuple[float, ...] | float, "Perturbation budgets ε, such as 0,0.02,0.05 (see --units)."]
    attack: Annotated[str | None, ATTACKS] = None
    out: Annotated[str | None, "Folder to write to; default: BUNDLE/eval/robustness."] = None
    tolerance: Annotated[float, "Of surface Dice, in mm."] = 1.0
    units: Annotated[str, UNITS] = "network"
    minimum: Annotated[bool, MINIMUM] = False
    checks: Annotated[bool, "Gradient-masking checks: obfuscated gradients, weak attacks, randomness."] = False
    transfer_from: Annotated[str | None, TRANSFER] = None
    crosscheck: Annotated[bool, CROSSCHECK] = False
    eot: Annotated[int, "Expectation over transformation: averaged passes of a randomised network."] = 1
    groups: Annotated[str | None, "CSV file with a column sample_id and others."] = None
    group_by: Annotated[str | None, "Column of --groups: results for each of its values (scanner, site, sex)."] = None


def evaluate(options: EvaluateOptions, further: Mapping[str, Any]) -> None:
    """Measure how robust a trained bundle is: accuracy, or Dice, under attack at rising perturbation budgets.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR.
    Writes results.json (every number, per sample too, with 95 % bootstrap intervals over patients or samples),
    results.csv (one row a level), curve.png and pictures: for a classifier accuracy by class, and clean image, noise
    x 10 and adversarial image; for a segmentation Dice by class, surface Dice and HD95, and three planes of a scan with
    the contours of label and predictions; of the worst ten cases each in cases/. Nothing is overwritten. An interrupted
    evaluation is resumed by the same command. `monai-ima report` makes a report of it.

    \b
    Example: monai-ima evaluate --bundle DIR --levels 0,0.01,0.02 --attack pgd100x2+apgd100-dlr --checks
    """
    overrides = config_overrides("evaluate", options, further)
    from monai_ima.evaluation.settings import EvaluationSettings

    from .evaluation_run import run

    run(EvaluationSettings(**vars(options), overrides=overrides))
