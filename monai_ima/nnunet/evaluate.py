"""Robustness of a trained fold of nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from monai_ima.evaluation import EvaluationSettings, evaluate
from monai_ima.results.provenance import command_line
from monai_ima.results.run_folder import check_folder
from monai_ima.results.schema import SegmentationResults
from monai_ima.utils.checks import check_choice, check_count
from monai_ima.utils.devices import check_device
from monai_ima.utils.predictor import unwrap

from .fold import open_fold
from .inferer import NNUNetInferer
from .labels import patch_criterion

__all__ = ["evaluate_fold"]


def evaluate_fold(
    dataset: int | str,
    configuration: str,
    fold: int,
    levels: Sequence[float],
    norm: str = "l2",
    attack: str | None = None,
    *,
    out: str | Path,
    trainer: str = "nnUNetTrainer",
    plans: str = "nnUNetPlans",
    checkpoint: str = "checkpoint_final.pth",
    mirroring: bool = False,
    device: torch.device | str | None = None,
    **options: Any,
) -> SegmentationResults:
    """Measure how robust a trained fold is on its validation cases, as nnU-Net has preprocessed them.

    Scores are of nnU-Net's grid and ε of its normalised units; windows, blending and precision are those of its own
    prediction (:class:`NNUNetInferer`). If the evaluation is interrupted, the same call resumes it.

    Args:
        dataset: number or name.
        configuration: such as ``"3d_fullres"``; the second stage of a cascade is refused.
        fold: its number, >= 0.
        levels: perturbation budgets ε >= 0; 0 is added if it is missing.
        norm: ``"l2"`` or ``"linf"``.
        attack: names joined by ``+``; None means the task's default.
        out: folder to write to, new or of the same evaluation.
        trainer: name of the trainer's class; one of the user's own is found through ``nnUNet_extTrainer``.
        plans: name of the plans.
        checkpoint: name of the file in the fold's folder.
        mirroring: predict mirrored windows too, which takes eight times as long in 3-D.
        device: None means the GPU if there is one.
        options: further fields of :class:`~monai_ima.evaluation.EvaluationSettings`, such as ``seed`` or ``checks``.

    Raises:
        FileExistsError: if ``out`` holds anything but an interrupted evaluation with the same settings and weights.
        ValueError: if an argument is not as stated, nnU-Net's folders are not set, or there is no such training.

    Example:
        >>> import os
        >>> os.environ.pop("nnUNet_preprocessed", None) and None
        >>> evaluate_fold(4, "3d_fullres", 0, [5, 10], out="robustness")
        Traceback (most recent call last):
        ...
        ValueError: Environment variable nnUNet_preprocessed is not set, expected nnU-Net's folder of that name.
    """
    check_choice("norm", norm, ("l2", "linf"))
    if str(fold) == "all":
        raise ValueError("Fold all is trained on every case and has none to be measured on, expected a fold's number.")
    given = {"dataset": dataset, "configuration": configuration, "fold": check_count("fold", fold, 0)}
    given |= {"trainer": trainer, "plans": plans, "mirroring": mirroring}
    where = check_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    EvaluationSettings(levels=levels, norm=norm, attack=attack, out=out, **options)
    opened = open_fold(dataset, configuration, fold, trainer, plans, checkpoint, mirroring, where)
    options = {**options, "checkpoint": str(opened.checkpoint), "overrides": given}
    settings = EvaluationSettings(levels=levels, norm=norm, attack=attack, out=out, **options)
    check_folder(settings.folder, settings.arguments())
    results = evaluate(
        unwrap(opened.predictor.network),
        opened,
        levels,
        norm,
        attack,
        out=out,
        criterion=patch_criterion(opened.predictor.label_manager, "lowest"),
        inferer=NNUNetInferer(opened.predictor),
        device=where,
        classes=opened.classes,
        metadata={"name": opened.name, "data_source": f"validation cases of {opened.name}"},
        **options,
    )
    assert isinstance(results, SegmentationResults)
    command = command_line({**settings.arguments(), "checkpoint": checkpoint})
    results = results.model_copy(update={"command": command.replace(" evaluate ", " nnunet evaluate ", 1)})
    results.write(settings.folder)
    return results
