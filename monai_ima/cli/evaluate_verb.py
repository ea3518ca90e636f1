from __future__ import annotations

from typing import Annotated, Any

import typer

from .arguments import Bundle, Checkpoint, Config, Norm, Seed, config_overrides, value

__all__ = ["evaluate"]


def evaluate(
    context: typer.Context,
    bundle: Bundle,
    levels: Annotated[Any, value("Perturbation budgets ε, such as 0,0.02,0.05 (see --units).", metavar="NUMBER,...")],
    norm: Norm = "linf",
    attack: Annotated[
        str | None,
        typer.Option(
            help="pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128 "
            "(gradient-free: 100 steps of 128 directions) or noise100 (draws of uniform random noise); for "
            "segmentations also pgd100x2-dice and pgd100x2-ce (one loss alone); several joined by + (the worst "
            "counts; a sample that one of them broke is not attacked again). Default: pgd100x2; for segmentations on "
            "Dice and cross-entropy, together and each alone."
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder to write to; default: BUNDLE/eval/robustness.")] = None,
    checkpoint: Checkpoint = None,
    config: Config = "evaluate.json",
    seed: Seed = 0,
    tolerance: Annotated[float, value("Tolerance of surface Dice, in mm.")] = 1.0,
    units: Annotated[
        str,
        typer.Option(
            help="Of the levels: network, or raw: intensities of the image files (HU for CT), where the bundle scales "
            "all images alike."
        ),
    ] = "network",
    minimum: Annotated[
        bool,
        typer.Option(
            "--minimum",
            help="Look for the smallest perturbation that changes each prediction, up to the highest level "
            "(classifiers); adds minimum.csv.",
        ),
    ] = False,
    checks: Annotated[
        bool,
        typer.Option(
            "--checks", help="Run the gradient-masking checks: obfuscated gradients, weak attacks, randomness."
        ),
    ] = False,
    transfer_from: Annotated[
        str | None,
        typer.Option(
            "--transfer_from",
            help="Weights of another model of the same network, for --checks: a transfer attack from it must not be "
            "stronger than the attack itself.",
        ),
    ] = None,
    crosscheck: Annotated[
        bool,
        typer.Option(
            "--crosscheck",
            help="Verify on 100 samples (4 scans) with independent code: ART and foolbox for classifiers (needs `pip "
            "install 'monai-ima[crosscheck]'`), a brute-force search for segmentations.",
        ),
    ] = False,
    eot: Annotated[
        int,
        typer.Option(help="Expectation over transformation: passes of a randomised network whose logits are averaged."),
    ] = 1,
    groups: Annotated[str | None, typer.Option(help="CSV file with a column sample_id and others.")] = None,
    group_by: Annotated[
        str | None,
        typer.Option("--group_by", help="Column of --groups: results for each of its values (scanner, site, sex)."),
    ] = None,
) -> None:
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
    overrides = config_overrides(context)
    from .evaluate import evaluate

    evaluate(**context.params, **overrides)
