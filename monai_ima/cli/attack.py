from __future__ import annotations

from typing import Annotated

import typer

from .arguments import Bundle, Checkpoint, Config, Norm, Seed, config_overrides, value

__all__ = ["attack"]


def attack(
    context: typer.Context,
    bundle: Bundle,
    eps: Annotated[float, value("Perturbation budget ε, > 0, in the units that the network sees.")],
    norm: Norm = "linf",
    attack: Annotated[
        str, typer.Option(help="As for evaluate: pgd100x2, apgd100-dlr, ddn100, pgd100x2+pgd100x2-dice, ...")
    ] = "pgd100x2",
    out: Annotated[str | None, typer.Option(help="Folder to write to; default: BUNDLE/eval/attack.")] = None,
    checkpoint: Checkpoint = None,
    config: Config = "evaluate.json",
    seed: Seed = 0,
    limit: Annotated[int | None, typer.Option(help="Attack that many images only; default: all.")] = None,
) -> None:
    """Attack a trained bundle's images at one perturbation budget and save the adversarial images.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR. A
    volume is saved as NAME_noisy.nii.gz beside its perturbation, NAME_noise.nii.gz, on the scan's own grid and affine
    (the bundle's flips, padding and resampling are undone); a 2-D image as NAME_noisy.png; a signal as NAME_noisy.csv,
    a row for each channel. Intensities are those that the network sees (normalised); a 2-D image's are scaled from the
    bundle's bounds to 0..255. Nothing is overwritten.

    \b
    Example: monai-ima attack --bundle DIR --eps 10 --norm l2 --limit 3
    """
    overrides = config_overrides(context)
    from .attacked_images import save_attacked_images

    print(save_attacked_images(**context.params, overrides=overrides))
