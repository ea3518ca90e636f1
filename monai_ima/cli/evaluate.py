from __future__ import annotations

import logging
from typing import Any

from monai_ima.evaluation.classification_task import MAX_CLASSES
from monai_ima.evaluation.loaded import load_bundle
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.evaluation.settings import EvaluationSettings
from monai_ima.harden.units import bundle_units
from monai_ima.results.base import as_numbers
from monai_ima.results.run_folder import check_folder
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults, Units

__all__ = ["evaluate", "print_verdicts"]

logger = logging.getLogger(__name__)


def evaluate(
    bundle: str,
    levels: tuple[float, ...] | float,
    norm: str = "linf",
    attack: str | None = None,
    out: str | None = None,
    checkpoint: str | None = None,
    config: str = "evaluate.json",
    seed: int = 0,
    tolerance: float = 1.0,
    units: str = "network",
    minimum: bool = False,
    checks: bool = False,
    transfer_from: str | None = None,
    crosscheck: bool = False,
    eot: int = 1,
    groups: str | None = None,
    group_by: str | None = None,
    **overrides: Any,
) -> None:
    """Measure how robust a trained bundle is: accuracy, or Dice, under attack at rising perturbation budgets ε.

    Runs the bundle's evaluation config (and so its expressions). Writes results.json (every number, with each
    sample's and 95 % bootstrap intervals over patients or samples), results.csv (one row a level), curve.png and
    pictures: for a classifier accuracy by class and clean image, perturbation x 10 and adversarial image; for a
    segmentation Dice by class, surface Dice and HD95, and three planes of a scan with the contours of label and
    predictions; of the worst ten cases each in cases/. Nothing is written over. An interrupted evaluation is resumed
    when the same command is given again. `python -m monai_ima report` makes a report of it.

    Args:
        bundle: folder of the bundle.
        levels: perturbation budgets ε, such as 0,0.02,0.05, in the units that the network sees (see units).
        norm: l2 or linf.
        attack: pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128
            (gradient-free: 100 steps of 128 directions) or noise100 (draws of uniform random noise); for segmentations
            also pgd100x2-dice and pgd100x2-ce (one loss alone); several joined by + (the worst counts; an image that
            one of them has broken is not attacked again). Default is pgd100x2, for segmentations on both losses, Dice
            and cross-entropy, together and each alone.
        out: folder to write to; default BUNDLE/eval/robustness.
        checkpoint: weights; default is the config's ckpt_path, else BUNDLE/models/model.pt.
        config: file name(s) in BUNDLE/configs, several separated by commas.
        seed: of the random starts.
        tolerance: of surface Dice, in mm.
        units: network, or raw: the levels are in the intensities of the image files (HU for CT), where the bundle
            scales all images alike.
        minimum: search for the smallest perturbation that changes each prediction, up to the highest level
            (classifiers); adds minimum.csv.
        checks: look for signs of gradient masking: gradients that mislead, attacks that are too weak, randomness.
        transfer_from: weights of another model of the same network, for the checks: perturbations made for it must
            not be stronger than those made for this one.
        crosscheck: verify on 100 of the samples (4 scans) with independent code: ART and foolbox for classifiers
            (needs `pip install 'monai-ima[crosscheck]'`), a brute-force search for segmentations.
        eot: expectation over transformation: passes through a network with random parts whose logits are averaged.
        groups: CSV file with a column sample_id and others.
        group_by: column of that file: results for each of its values (scanner, site, sex, age band).
        overrides: values of config ids, such as --dataset_dir DIR.
    """
    settings = EvaluationSettings(**locals())
    check_folder(settings.folder, settings.arguments())
    intensity_scale = _units(settings)
    loaded = load_bundle(bundle, config, checkpoint, **overrides)
    results = evaluate_loaded(settings, loaded, intensity_scale)
    print(_scan_table(results, tolerance) if isinstance(results, SegmentationResults) else _sample_table(results))
    print_verdicts(results)
    names = sorted(path.name for path in settings.folder.iterdir())
    print(f"Written to {settings.folder}: {', '.join(names)}")


def print_verdicts(results: Results) -> None:
    """Print what the checks for gradient masking and independent verification found."""
    for result in results.checks or ():
        print(f"{result.status:>8}  {result.title}: {result.summary}")
    for row in results.crosscheck.rows if results.crosscheck else ():
        print(f"{'agrees' if row.agrees else 'DIFFERS':>8}  {row.by}: {row.theirs:.3f}, ours {row.ours:.3f}")


def _sample_table(results: ClassificationResults) -> str:
    """The accuracy at every ε, of all samples and by class where there are few."""
    classes = results.accuracy_by_class if len(results.classes) <= MAX_CLASSES else {}
    columns = [results.accuracy, *map(as_numbers, classes.values())]
    lines = [f"{'epsilon':>8}{'accuracy':>10}" + "".join(f"{name:>10}" for name in classes)]
    for k, eps in enumerate(results.levels):
        lines.append(f"{eps:>8g}" + "".join(f"{values[k]:>10.3f}" for values in columns))
    return "\n".join(lines)


def _scan_table(results: SegmentationResults, tolerance: float) -> str:
    """The mean metrics at every ε."""
    lines = [
        f"{'epsilon':>8}{'Dice':>8}{f'surface Dice ({tolerance:g} mm)':>24}{'HD95 (mm)':>12}{'HD95 undefined':>17}"
    ]
    columns = map(as_numbers, (results.dice, results.surface_dice, results.hd95))
    for k, (eps, dice, surface, distance) in enumerate(zip(results.levels, *columns, strict=True)):
        lines.append(f"{eps:>8g}{dice:>8.3f}{surface:>24.3f}{distance:>12.2f}{results.hd95_undefined[k]:>17d}")
    return "\n".join(lines)


def _units(settings: EvaluationSettings) -> Units | None:
    needed = settings.units == "raw"
    try:
        units = bundle_units(str(settings.bundle), settings.config, settings.overrides)
    except ValueError as error:
        if needed:
            raise
        logger.warning("Results are in the network's units only: %s", error)
        return None
    if units is None and needed:
        raise ValueError(
            f"Bundle {settings.bundle} does not say how it scales intensities, or scales each image on its own: levels "
            "in raw intensities are not defined; expected --units network."
        )
    return units
