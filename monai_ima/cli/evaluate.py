from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from monai_ima.attacks import attack_from_name
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation.classification import check_levels
from monai_ima.evaluation.classification_run import evaluate_classification, sample_table
from monai_ima.evaluation.loaded import load_bundle
from monai_ima.evaluation.segmentation_run import STRONGEST_ATTACK, evaluate_segmentation, scan_table
from monai_ima.evaluation.verification import check_bundle, crosscheck_bundle
from monai_ima.harden.units import bundle_units
from monai_ima.inferers import AveragedInferer, gradient_inferer
from monai_ima.results.provenance import command_line
from monai_ima.results.run_folder import check_folder, start_folder, write_results
from monai_ima.results.schema import Units
from monai_ima.results.subgroups import read_column
from monai_ima.utils.checks import check_bool, check_count

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)

CLASSIFICATION_ATTACK = "pgd100x2"


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
    """Measure how robust a trained bundle is: accuracy, or Dice, under attack at rising levels of noise.

    Runs the bundle's evaluation config (and so its expressions). Writes results.json (every number, with each
    sample's and 95 % bootstrap intervals over patients or samples), results.csv (one row a level), curve.png and
    pictures: for a classifier accuracy by class and clean image, noise x 10 and noisy image; for a segmentation Dice
    by class, surface Dice and HD95, and three planes of a scan with the contours of label and predictions; of the
    worst ten cases each in cases/. Nothing is written over. A broken-off evaluation goes on when the same command is
    given again. `python -m monai_ima report` makes a report of it.

    Args:
        bundle: folder of the bundle.
        levels: radii of the noise, such as 0,0.02,0.05, in the units that the network sees (see units).
        norm: l2 or linf.
        attack: pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128
            (gradient-free: 100 steps of 128 directions) or noise100 (draws of white noise); for segmentations also
            pgd100x2-dice and pgd100x2-ce (one loss alone); several joined by + (the worst counts; an image that one of
            them has turned is not attacked again). Default is pgd100x2, for segmentations on both losses, Dice and
            cross-entropy, together and each alone.
        out: folder to write to; default BUNDLE/eval/robustness.
        checkpoint: weights; default is the config's ckpt_path, else BUNDLE/models/model.pt.
        config: file name(s) in BUNDLE/configs, several separated by commas.
        seed: of the random starts.
        tolerance: of surface Dice, in mm.
        units: network, or raw: the levels are in the intensities of the image files (HU for CT), where the bundle
            scales all images alike.
        minimum: look for the smallest noise that changes each prediction, up to the highest level (classifiers); adds
            minimum.csv.
        checks: look for signs of false robustness: masked gradients, attacks that are too weak, randomness.
        transfer_from: weights of another model of the same network, for the checks: noise made for it must not be
            stronger than noise made for this one.
        crosscheck: attack 100 of the samples (4 scans) with independent code too: ART and foolbox for classifiers
            (needs `pip install 'monai-ima[crosscheck]'`), a brute-force search for segmentations.
        eot: expectation over transformation: passes through a network with random parts whose logits are averaged.
        groups: CSV file with a column sample_id and others.
        group_by: column of that file: results for each of its values (scanner, site, sex, age band).
        overrides: values of config ids, such as --dataset_dir DIR.
    """
    radii = check_levels(levels if isinstance(levels, (tuple, list)) else (levels,))
    attack_from_name(attack or CLASSIFICATION_ATTACK, norm, criterion=DiceCriterion())
    names = (attack or "").split("+")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"Got the attack {twice[0]} twice in {attack!r}, expected each once.")
    if units not in ("network", "raw"):
        raise ValueError(f"Unknown units {units!r}, expected 'network' or 'raw'.")
    if (groups is None) != (group_by is None):
        raise ValueError("Options --groups and --group_by go together, expected both or neither.")
    for name, value in {"minimum": minimum, "checks": checks, "crosscheck": crosscheck}.items():
        check_bool(name, value)
    if transfer_from is not None and not checks:
        raise ValueError("Option --transfer_from is for --checks, expected both.")
    if (checks or crosscheck or minimum) and len(radii) < 2:
        raise ValueError("Only the level 0 was asked for, expected one above it for --minimum, --checks, --crosscheck.")
    check_count("eot", eot, 1)
    folder = Path(out) if out is not None else Path(bundle) / "eval" / "robustness"
    column = None if groups is None or group_by is None else read_column(groups, group_by)
    asked = {
        "bundle": str(bundle),
        "levels": radii,
        "norm": norm,
        "attack": attack,
        "out": None if out is None else str(out),
        "checkpoint": checkpoint,
        "config": config,
        "seed": seed,
        "tolerance": tolerance,
        "units": units,
        "minimum": minimum,
        "checks": checks,
        "transfer_from": transfer_from,
        "crosscheck": crosscheck,
        "eot": eot,
        "groups": groups,
        "group_by": group_by,
        **overrides,
    }
    check_folder(folder, asked)
    worth = _units(bundle, config, overrides, units == "raw")
    loaded = load_bundle(bundle, config, checkpoint, **overrides)
    if eot > 1:
        loaded = replace(loaded, inferer=AveragedInferer(gradient_inferer(loaded.inferer), eot))
    if loaded.segments and minimum:
        raise ValueError(f"Bundle {bundle} segments, expected a classifier for --minimum.")
    settings = {**asked, "attack": attack or (STRONGEST_ATTACK if loaded.segments else CLASSIFICATION_ATTACK)}
    if units == "raw" and worth is not None:
        settings["levels"] = [level / worth.per_unit for level in radii]
    start_folder(folder, asked)
    torch.manual_seed(seed)
    if loaded.segments:
        scans, content = evaluate_segmentation(folder, loaded, settings, column)
        print(scan_table(scans, tolerance))
    else:
        samples, content = evaluate_classification(folder, loaded, settings, column)
        print(sample_table(samples, content["classes"]))
    content |= {"settings": asked, "command": command_line(asked), "units": None if worth is None else asdict(worth)}
    content["checks"] = check_bundle(folder, loaded, settings, content, transfer_from) if checks else None
    content["crosscheck"] = crosscheck_bundle(folder, loaded, settings, content) if crosscheck else None
    write_results(folder, content)
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _units(bundle: str, config: str, overrides: dict[str, Any], needed: bool) -> Units | None:
    try:
        found = bundle_units(bundle, config, overrides)
    except ValueError as error:
        if needed:
            raise
        logger.warning("Results are in the network's units only: %s", error)
        return None
    if found is None and needed:
        raise ValueError(
            f"Bundle {bundle} does not say how it scales intensities, or scales each image on its own: levels in raw "
            "intensities are not defined; expected --units network."
        )
    return found
