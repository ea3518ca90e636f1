from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from monai_ima.harden.settings import PERTURBATION, Stated
from monai_ima.results.settings import BOUNDS, CHANNELS, CHECKPOINT, CONFIG, IGNORE_INDEX, OUTPUT, SIGMOID, TASK
from monai_ima.utils.checks import check_count, check_positive, check_seed

from .options import config_overrides

if TYPE_CHECKING:
    from monai_ima.results.records import AttackedImage

__all__ = ["AttackOptions", "attack"]


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """The options of ``monai-ima attack``."""

    bundle: Annotated[str, "Folder of the bundle."]
    eps: Annotated[float, "Perturbation budget ε, > 0, in the units that the network sees, or in the perturbation's."]
    norm: Annotated[str, "l2 or linf."] = "linf"
    perturbation: Annotated[str | None, PERTURBATION] = None
    attack: Annotated[str, "As for evaluate: pgd100x2, apgd100-dlr, ddn100, pgd100x2+pgd100x2-dice, ..."] = "pgd100x2"
    out: Annotated[str | None, "Folder to write to; default: BUNDLE/eval/attack."] = None
    limit: Annotated[int | None, "Attack that many images only; default: all."] = None
    checkpoint: Annotated[str | None, CHECKPOINT] = None
    config: Annotated[str | None, CONFIG] = None
    seed: Annotated[int, "Of the random starts."] = 0
    task: Annotated[str | None, TASK] = None
    sigmoid: Annotated[bool | None, SIGMOID] = None
    ignore_index: Annotated[int | None, IGNORE_INDEX] = None
    bounds: Annotated[Sequence[float] | None, BOUNDS] = None
    channels: Annotated[Sequence[int] | None, CHANNELS] = None
    output: Annotated[int | str | None, OUTPUT] = None

    def __post_init__(self) -> None:
        check_positive("eps", self.eps)
        limit = None if self.limit is None else check_count("limit", self.limit, 1)
        counts = {"seed": check_seed(self.seed), "limit": limit}
        for name, value in {**counts, **vars(Stated.of(self))}.items():
            object.__setattr__(self, name, value)


def attack(options: AttackOptions, further: Mapping[str, Any]) -> None:
    """Attack a trained bundle's images at one perturbation budget and save the adversarial images.

    Runs the bundle's evaluation config, and so its expressions; any id of it can be set, such as --dataset_dir DIR. A
    volume is saved as NAME_noisy.nii.gz beside its perturbation, NAME_noise.nii.gz, on the scan's own grid and affine
    (the bundle's flips, padding and resampling are undone); a 2-D image as NAME_noisy.png (those of its channels that
    noise may change); a signal as NAME_noisy.csv, a row for each channel. Intensities are those that the network sees
    (normalised); a 2-D image's are scaled from the bundle's bounds to 0..255. Nothing is overwritten; an interrupted
    run is resumed by the same command.

    \b
    Example: monai-ima attack --bundle BUNDLE --eps 0.02 --limit 3
    """
    overrides = config_overrides("attack", options, further)
    from monai_ima.attacks import attack_from_name
    from monai_ima.criteria import DiceCriterion
    from monai_ima.evaluation.attacked_images import names_of_images, save_attacked_images
    from monai_ima.harden.loading import load_bundle
    from monai_ima.perturbations import perturbation_from_name
    from monai_ima.results.run_folder import check_folder, shared_folder
    from monai_ima.utils.workers import workers

    perturbation = None if options.perturbation is None else perturbation_from_name(options.perturbation)
    attack_from_name(options.attack, options.norm, criterion=DiceCriterion(), perturbation=perturbation)
    folder = Path(options.out if options.out is not None else Path(options.bundle) / "eval" / "attack")
    note = {**asdict(options), **overrides}
    if perturbation is None:
        del note["perturbation"]
    check_folder(folder, note)
    loaded = load_bundle(options.bundle, options.config, options.checkpoint, Stated.of(options), **overrides)
    loaded = loaded.with_output(options.output)
    attacker = attack_from_name(
        options.attack,
        options.norm,
        loaded.bounds,
        loaded.attack_criterion,
        loaded.channels,
        perturbation=perturbation,
    )
    names = names_of_images(loaded, options.limit)
    with shared_folder(folder, lambda: {**note, "weights_sha256": loaded.weights_sha256}):
        images = save_attacked_images(loaded, attacker, options.eps, folder, options.limit, options.seed, names)
    if workers().leader:
        outcome = _outcome(images, loaded.segments)
        print(f"{len(images)} images attacked, weights {loaded.checkpoint}: {outcome}; written to {folder}.")


def _outcome(images: Sequence[AttackedImage], segments: bool) -> str:
    """What the noise did, in words."""
    return _maps_outcome(images) if segments else _classes_outcome(images)


def _maps_outcome(images: Sequence[AttackedImage]) -> str:
    dice = [image.dice for image in images if image.dice is not None]
    if not dice:
        return "no Dice, none of their labels holds a foreground"
    clean, noisy = (sum(values) / len(dice) for values in zip(*dice, strict=True))
    without = len(images) - len(dice)
    left_out = f" ({without} whose label holds no foreground left out)" if without else ""
    return f"mean Dice {clean:.3f} without noise, {noisy:.3f} with it{left_out}"


def _classes_outcome(images: Sequence[AttackedImage]) -> str:
    wrong = sum(image.correct is False for image in images)
    unlabelled = sum(image.correct is None for image in images)
    kept = [f"{wrong} were wrong without noise"] * bool(wrong) + [f"{unlabelled} have no label"] * bool(unlabelled)
    saved = f" ({' and '.join(kept)} and are saved as they are)" if kept else ""
    correct = len(images) - wrong - unlabelled
    return f"{sum(image.broken for image in images)} of {correct} correct answers became wrong{saved}"
