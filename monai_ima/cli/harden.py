from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import Bundle, further_options, unknown_option, value

__all__ = ["harden"]


def harden(
    context: typer.Context,
    bundle: Bundle,
    method: Annotated[str, typer.Option(help="ima, pgd, trades, iaat, mma or ddn.")] = "ima",
    eps_max: Annotated[
        float | None,
        value(
            "Largest ε (the only one, for pgd and trades), > 0, in the units that the network sees; default: from the "
            "normalisation in the transforms.",
            "--eps_max",
        ),
    ] = None,
    norm: Annotated[str | None, typer.Option(help="l2 or linf; default: linf, l2 for ddn.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Checkpoint to fine-tune; default: BUNDLE/models/model.pt where there is one.")
    ] = None,
    min_clean: Annotated[
        float | None,
        value("Keep only weights whose clean validation metric is at least that.", "--min_clean"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Show the overlay and write nothing.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Trial run: two iterations and one validation batch under attack. Runs the bundle's own code; writes "
            "nothing into the bundle.",
        ),
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            help="File name(s) in BUNDLE/configs, several separated by commas; default: train.json or train.yaml."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classification, multi-label or segmentation; default: from loss, metrics and metadata."),
    ] = None,
    sigmoid: Annotated[
        bool | None,
        typer.Option(
            "--sigmoid/--no_sigmoid",
            help="The outputs are independent of each other; default: from the post-processing and the loss.",
        ),
    ] = None,
    bounds: Annotated[
        Any, value("Valid intensities, such as 0,1; default: from the transforms.", metavar="LO,HI")
    ] = None,
    threshold: Annotated[
        Any,
        value(
            "Of a segmentation's Dice: a number, baseline or relative:0.9; default: baseline with a checkpoint.",
            metavar="VALUE",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        value("Number of epochs; default: a quarter of the bundle's with a checkpoint, else the bundle's."),
    ] = None,
    val_eps: Annotated[
        float | None, value("ε of the validation under attack; default: half of eps_max.", "--val_eps")
    ] = None,
    val_steps: Annotated[int, value("PGD steps of the validation under attack.", "--val_steps")] = 20,
    trainer: Annotated[str | None, typer.Option(help="Id of the trainer, where the config has several.")] = None,
) -> None:
    """Write an overlay config that turns a MONAI bundle's training into adversarial training.

    Reads the training config without evaluating it, infers task and settings, shows them, writes
    BUNDLE/configs/train_METHOD.json and prints the command that trains. No file of the bundle is touched. Further
    options are those of the method's handler, such as --delta 0.01, --beta 0.5, --update online, --steps 10. Everything
    in the overlay can be overridden when it is run, such as by --harden#eps_max 0.05.

    \b
    Example: monai-ima harden --bundle DIR --pretrained DIR/models/model.pt --min_clean 0.85 --dry_run
    """
    from monai_ima.harden.overlay import make_overlay, overlay_text, run_lines
    from monai_ima.harden.parts import find_parts
    from monai_ima.harden.plan import make_plan
    from monai_ima.harden.reading import read_training_config
    from monai_ima.harden.summary import summarize_plan
    from monai_ima.harden.trial import run_trial

    settings = _settings(context)
    training = read_training_config(bundle, config)
    plan = make_plan(find_parts(training, trainer), settings)
    overlay = make_overlay(plan)
    target = plan.overlay_file
    if not dry_run:
        _check_writable(target)
    print(summarize_plan(plan))
    if check:
        print(f"Checking: this runs the code of {bundle}.")
        print(run_trial(plan, overlay))
    if dry_run:
        print(overlay_text(overlay), end="")
        return
    with open(target, "x", encoding="utf-8") as file:
        file.write(overlay_text(overlay))
    print("\n".join([f"Written: {target}. To train:", *run_lines(plan)]))


def _settings(context: typer.Context) -> Any:
    """The options of a command line as :class:`~monai_ima.harden.settings.HardenSettings`."""
    from monai_ima.harden.settings import HardenSettings, handler_options

    options, method = context.params, context.params["method"]
    known, further = handler_options(method), {}
    for name, content in further_options(context).items():
        further[name.replace("-", "_")] = content
        if name.replace("-", "_") not in known:
            otherwise = f"one of {', '.join(known)}, or an option of harden (see --help)"
            raise unknown_option(name, [*known, *options], otherwise, of=f" of method {method}")
    given = {name: options[name] for name in HardenSettings.__dataclass_fields__ if name in options}
    return HardenSettings(**given, handler_options=further)


def _check_writable(target: Path) -> None:
    if target.exists():
        raise FileExistsError(
            f"File {target} exists, expected a bundle without it: move it away or give another method."
        )
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"Folder {target.parent} is read-only, expected one that can be written to.")
