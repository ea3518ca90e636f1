from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from monai_ima.results.settings import ATTACKS

__all__ = ["nnunet_evaluate", "nnunet_path"]


def nnunet_path() -> None:
    """Print the folder for nnU-Net's variable nnUNet_extTrainer: it finds nnUNetTrainerIMA and nnUNetTrainerPGD there.

    \b
    Example: export nnUNet_extTrainer=$(monai-ima nnunet path); nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerIMA
    """
    _check_installed()
    print(Path(__file__).parents[1] / "nnunet" / "trainers")


def nnunet_evaluate(
    dataset: Annotated[int | str, "-d", "Number or name of the data set."],
    configuration: Annotated[str, "-c", "Such as 3d_fullres."],
    fold: Annotated[int, "-f", "Number of the fold; fold all has no validation cases."],
    levels: Annotated[Sequence[float], "Perturbation budgets ε in nnU-Net's normalised units."],
    out: Annotated[str, "Folder to write to."],
    trainer: Annotated[str, "-tr", "Class of the trainer."] = "nnUNetTrainer",
    plans: Annotated[str, "-p", "Name of the plans."] = "nnUNetPlans",
    norm: Annotated[str, "l2 or linf."] = "l2",
    attack: Annotated[str | None, ATTACKS] = None,
    checkpoint: Annotated[str, "-chk", "Name of the file with the weights."] = "checkpoint_final.pth",
    mirroring: Annotated[bool, "Predict mirrored windows too, as nnU-Net does by default."] = False,
    device: Annotated[str | None, "-device", "Default: the GPU if there is one."] = None,
    seed: Annotated[int, "Of the random starts."] = 0,
    tolerance: Annotated[float, "Of surface Dice, in mm."] = 1.0,
    checks: Annotated[bool, "Gradient-masking checks."] = False,
) -> None:
    """Measure how robust a trained fold of nnU-Net v2 is.

    Attacks the fold's validation cases as nnU-Net has preprocessed them, through its own sliding window, and writes
    what `monai-ima evaluate` writes; an interrupted evaluation is resumed by the same command.

    \b
    Example: monai-ima nnunet evaluate -d 4 -c 3d_fullres -f 0 -tr nnUNetTrainerIMA --levels 0,5,10 --out DIR
    """
    _check_installed()
    from monai_ima.nnunet import evaluate_fold

    results = evaluate_fold(
        dataset,
        configuration,
        fold,
        levels=levels,
        out=out,
        norm=norm,
        attack=attack,
        trainer=trainer,
        plans=plans,
        checkpoint=checkpoint,
        mirroring=mirroring,
        device=device,
        seed=seed,
        tolerance=tolerance,
        checks=checks,
    )
    print(results)
    print(f"Written to {out}: {', '.join(sorted(path.name for path in Path(out).glob('[!.]*')))}")


def _check_installed() -> None:
    if find_spec("nnunetv2") is None:
        raise ValueError("nnU-Net is not installed, expected nnunetv2: pip install 'monai-ima[nnunet]'.")
