from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from monai_ima.results.settings import ATTACKS

__all__ = ["nnunet"]

REQUIRED = ("dataset", "configuration", "fold", "levels", "out")


def nnunet(
    action: Annotated[str, "path: print the folder for nnUNet_extTrainer; evaluate: attack a trained fold."],
    dataset: Annotated[int | str | None, "-d", "Number or name of the data set."] = None,
    configuration: Annotated[str | None, "-c", "Such as 3d_fullres."] = None,
    fold: Annotated[int | None, "-f", "Number of the fold."] = None,
    levels: Annotated[Sequence[float] | None, "Perturbation budgets ε in nnU-Net's normalised units."] = None,
    out: Annotated[str | None, "Folder to write to."] = None,
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
    """Adversarial training in nnU-Net v2 (path), and the robustness of a fold that it has trained (evaluate).

    With nnUNet_extTrainer set to the folder, `nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerIMA` trains with IMA.
    evaluate attacks the fold's validation cases as nnU-Net has preprocessed them, through its own sliding window, and
    writes what `monai-ima evaluate` writes; an interrupted evaluation is resumed by the same command.

    \b
    Example: monai-ima nnunet evaluate -d 4 -c 3d_fullres -f 0 -tr nnUNetTrainerIMA --levels 0,5,10 --out DIR
    """
    if action not in ("path", "evaluate"):
        raise ValueError(f"Got action {action!r}, expected path or evaluate.")
    if find_spec("nnunetv2") is None:
        raise ValueError("nnU-Net is not installed, expected nnunetv2: pip install 'monai-ima[nnunet]'.")
    if action == "path":
        print(Path(__file__).parents[1] / "nnunet" / "trainers")
        return
    given: dict[str, Any] = dict(zip(REQUIRED, (dataset, configuration, fold, levels, out), strict=True))
    for name, value in given.items():
        if value is None:
            raise ValueError(f"Option --{name} is missing, expected a value for it (see --help).")
    from monai_ima.nnunet import evaluate_fold

    results = evaluate_fold(
        **given,
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
    print(f"Written to {out}: {', '.join(sorted(path.name for path in Path(str(out)).glob('[!.]*')))}")
