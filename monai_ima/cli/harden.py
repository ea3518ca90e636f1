from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_ima.harden.overlay import as_text, make_overlay, overlay_name, run_lines
from monai_ima.harden.parts import find_parts
from monai_ima.harden.plan import make_plan
from monai_ima.harden.reading import read_training_config
from monai_ima.harden.trial import check_overlay

__all__ = ["harden"]


def harden(
    bundle: str,
    method: str = "ima",
    eps_max: float | None = None,
    norm: str | None = None,
    pretrained: str | None = None,
    min_clean: float | None = None,
    dry_run: bool = False,
    check: bool = False,
    config: str | Sequence[str] | None = None,
    task: str | None = None,
    sigmoid: bool | None = None,
    bounds: tuple[float, float] | None = None,
    threshold: float | str | None = None,
    epochs: int | None = None,
    val_eps: float | None = None,
    val_steps: int = 20,
    trainer: str | None = None,
    **options: Any,
) -> None:
    """Write an overlay config that turns a MONAI bundle's training into adversarial training.

    Reads the training config without evaluating it, works out task and settings, shows them, writes
    BUNDLE/configs/train_METHOD.json and prints the command that trains. No file of the bundle is touched. Everything
    in the overlay can be overridden when it is run, such as with --harden#eps_max 0.05.

    Args:
        bundle: folder of the bundle.
        method: ima, pgd, trades, iaat, mma or ddn.
        eps_max: largest radius of the noise (the radius, for pgd and trades), > 0, in the units that the network sees;
            default from the normalisation found in the transforms.
        norm: l2 or linf; default linf, l2 for ddn.
        pretrained: checkpoint to fine-tune; default BUNDLE/models/model.pt where there is one.
        min_clean: keep only weights whose clean validation metric is at least that.
        dry_run: show the overlay and write nothing.
        check: build the training and try it: two iterations and one validation batch under attack. **Runs the
            bundle's own code**; writes nothing into the bundle.
        config: file name(s) in BUNDLE/configs, several separated by commas; default train.json or train.yaml.
        task: classification, multi-label or segmentation; default from loss, metric, post-processing and metadata.
        sigmoid: the outputs are independent of each other; default from the post-processing and the loss.
        bounds: valid intensities, such as 0,1; default from the transforms.
        threshold: of a segmentation's Dice: a number, baseline or relative:0.9; default baseline with a checkpoint.
        epochs: number of epochs; default a quarter of the bundle's with a checkpoint, else the bundle's.
        val_eps: radius of the validation under attack; default half of eps_max.
        val_steps: PGD steps of the validation under attack.
        trainer: id of the trainer, where the config has several.
        options: of the method's handler, such as --delta 0.01, --beta 0.5, --update online, --steps 10.
    """
    names = config if config is None or isinstance(config, (tuple, list)) else str(config)
    read = read_training_config(str(bundle), names)
    target = read.root / "configs" / overlay_name(method)
    parts = find_parts(read, trainer)
    plan = make_plan(
        parts,
        method,
        eps_max=eps_max,
        norm=norm,
        pretrained=None if pretrained is None else str(pretrained),
        min_clean=min_clean,
        task=task,
        sigmoid=sigmoid,
        bounds=bounds,
        threshold=threshold,
        epochs=epochs,
        val_eps=val_eps,
        val_steps=val_steps,
        **options,
    )
    overlay = make_overlay(plan)
    text = as_text(overlay)
    if not dry_run:
        _refuse(target)
    print(plan)
    if check:
        print(f"Checking: this runs the code of {bundle}.")
        print(check_overlay(plan, overlay))
    if dry_run:
        print(text, end="")
        return
    with open(target, "x", encoding="utf-8") as file:
        file.write(text)
    print(f"Written: {target}. To train:")
    for line in run_lines(plan):
        print(line)


def _refuse(target: Path) -> None:
    if target.exists():
        raise FileExistsError(
            f"File {target} exists, expected a bundle without it: move it away or give another method."
        )
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"Folder {target.parent} is read-only, expected one that can be written to.")
