from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from monai_ima.results.settings import CHANNELS, CHECKPOINT, CONFIG, OUTPUT
from monai_ima.utils.checks import check_channels, check_count, check_output, check_positive, check_seed

from .options import config_overrides

__all__ = ["AttackOptions", "attack"]


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """The options of ``monai-ima attack``."""

    bundle: Annotated[str, "Folder of the bundle."]
    eps: Annotated[float, "Perturbation budget ε, > 0, in the units that the network sees."]
    norm: Annotated[str, "l2 or linf."] = "linf"
    attack: Annotated[str, "As for evaluate: pgd100x2, apgd100-dlr, ddn100, pgd100x2+pgd100x2-dice, ..."] = "pgd100x2"
    out: Annotated[str | None, "Folder to write to; default: BUNDLE/eval/attack."] = None
    limit: Annotated[int | None, "Attack that many images only; default: all."] = None
    checkpoint: Annotated[str | None, CHECKPOINT] = None
    config: Annotated[str | None, CONFIG] = None
    seed: Annotated[int, "Of the random starts."] = 0
    channels: Annotated[Sequence[int] | None, CHANNELS] = None
    output: Annotated[int | str | None, OUTPUT] = None

    def __post_init__(self) -> None:
        check_positive("eps", self.eps)
        check_seed(self.seed)
        object.__setattr__(self, "channels", check_channels(self.channels))
        check_output(self.output)
        if self.limit is not None:
            check_count("limit", self.limit, 0)


def attack(options: AttackOptions, further: Mapping[str, Any]) -> None:
    """Attack a trained bundle's images at one perturbation budget and save the adversarial images.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR. A
    volume is saved as NAME_noisy.nii.gz beside its perturbation, NAME_noise.nii.gz, on the scan's own grid and affine
    (the bundle's flips, padding and resampling are undone); a 2-D image as NAME_noisy.png (those of its channels that
    noise may change); a signal as NAME_noisy.csv, a row for each channel. Intensities are those that the network sees
    (normalised); a 2-D image's are scaled from the bundle's bounds to 0..255. Nothing is overwritten; an interrupted
    run is resumed by the same command.

    \b
    Example: monai-ima attack --bundle DIR --eps 10 --norm l2 --limit 3
    """
    overrides = config_overrides("attack", options, further)
    from monai_ima.attacks import attack_from_name
    from monai_ima.criteria import DiceCriterion
    from monai_ima.evaluation.attacked_images import save_attacked_images
    from monai_ima.harden.loading import load_bundle
    from monai_ima.results.run_folder import check_folder, one_writer, start_folder

    attack_from_name(options.attack, options.norm, criterion=DiceCriterion())
    folder = Path(options.out or Path(options.bundle) / "eval" / "attack")
    note = {**asdict(options), **overrides}
    check_folder(folder, note)
    loaded = load_bundle(options.bundle, options.config, options.checkpoint, options.channels, **overrides)
    loaded = loaded.with_output(options.output)
    attacker = attack_from_name(options.attack, options.norm, loaded.bounds, loaded.attack_criterion, loaded.channels)
    with one_writer(folder):
        start_folder(folder, {**note, "weights_sha256": loaded.weights_sha256})
        saved, misclassified = save_attacked_images(loaded, attacker, options.eps, folder, options.limit, options.seed)
    unchanged = f" ({misclassified} of them were wrong without noise and are saved as they are)"
    print(f"{saved} images attacked{unchanged if misclassified else ''}; written to {folder}.")
