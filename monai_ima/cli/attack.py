from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from .arguments import config_overrides
from .options import BundleOptions

__all__ = ["AttackOptions", "attack"]


@dataclass(frozen=True, kw_only=True)
class AttackOptions(BundleOptions):
    """The options of ``monai-ima attack``."""

    eps: Annotated[float, "Perturbation budget ε, > 0, in the units that the network sees."]
    attack: Annotated[str, "As for evaluate: pgd100x2, apgd100-dlr, ddn100, pgd100x2+pgd100x2-dice, ..."] = "pgd100x2"
    out: Annotated[str | None, "Folder to write to; default: BUNDLE/eval/attack."] = None
    limit: Annotated[int | None, "Attack that many images only; default: all."] = None


def attack(options: AttackOptions, further: Mapping[str, Any]) -> None:
    """Attack a trained bundle's images at one perturbation budget and save the adversarial images.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR. A
    volume is saved as NAME_noisy.nii.gz beside its perturbation, NAME_noise.nii.gz, on the scan's own grid and affine
    (the bundle's flips, padding and resampling are undone); a 2-D image as NAME_noisy.png; a signal as NAME_noisy.csv,
    a row for each channel. Intensities are those that the network sees (normalised); a 2-D image's are scaled from the
    bundle's bounds to 0..255. Nothing is overwritten.

    \b
    Example: monai-ima attack --bundle DIR --eps 10 --norm l2 --limit 3
    """
    overrides = config_overrides("attack", options, further)
    from .attacked_images import save_attacked_images

    print(save_attacked_images(options, overrides))
