from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from monai_ima.harden.settings import HardenSettings

from .arguments import unknown_option
from .options import option_names

__all__ = ["HardenOptions", "harden"]

logger = logging.getLogger(__name__)

CHECK = "Trial run: two iterations, one validation batch under attack. Runs the bundle's code; writes nothing into it."
CONFIG = "File name(s) in BUNDLE/configs, several separated by commas; default: train.json or train.yaml."


@dataclass(frozen=True, kw_only=True)
class HardenOptions(HardenSettings):
    """The options of ``monai-ima harden``."""

    bundle: Annotated[str, "Folder of the bundle."]
    config: Annotated[str | Sequence[str] | None, CONFIG] = None
    trainer: Annotated[str | None, "Id of the trainer, where the config has several."] = None
    dry_run: Annotated[bool, "Show the overlay and write nothing."] = False
    check: Annotated[bool, CHECK] = False


def harden(options: HardenOptions, further: Mapping[str, Any]) -> None:
    """Write an overlay config that turns a MONAI bundle's training into adversarial training.

    Reads the training config without evaluating it, infers task and settings, shows them, writes
    BUNDLE/configs/train_METHOD.json and prints the command that trains. No file of the bundle is touched. Further
    options are those of the method's handler, such as --delta 0.01, --beta 0.5, --update online, --steps 10. Everything
    in the overlay can be overridden when it is run, such as by --harden#eps_max 0.05; with --check any id of the config
    is set for the trial run, such as --dataset_dir DIR.

    \b
    Example: monai-ima harden --bundle DIR --pretrained DIR/models/model.pt --min_clean 0.85 --dry_run
    """
    from monai_ima.harden.overlay import evaluation_lines, make_overlay, overlay_text, run_lines
    from monai_ima.harden.parts import find_parts
    from monai_ima.harden.plan import make_plan
    from monai_ima.harden.reading import read_training_config
    from monai_ima.harden.summary import delta_warning, summarize_plan
    from monai_ima.harden.trial import run_trial

    config = read_training_config(options.bundle, options.config)
    handler_options, overrides = _sorted_out(options, further, [file.name for file in config.files])
    plan = make_plan(find_parts(config, options.trainer), replace(options, handler_options=handler_options))
    overlay = make_overlay(plan)
    if not options.dry_run:
        _check_writable(plan.overlay_file)
    print(summarize_plan(plan))
    if warning := delta_warning(plan):
        logger.warning(warning)
    if options.check:
        print(f"Checking: this runs the code of {options.bundle}.")
        print(run_trial(plan, overlay, overrides))
    if options.dry_run:
        print(overlay_text(overlay), end="")
        return
    with open(plan.overlay_file, "x", encoding="utf-8") as file:
        file.write(overlay_text(overlay))
    lines = [f"Written: {plan.overlay_file}. To train:", *run_lines(plan), *evaluation_lines(plan)]
    print("\n".join(lines))


def _sorted_out(
    options: HardenOptions, further: Mapping[str, Any], files: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The further options: those of the method's handler, and for a trial run ids of the training config."""
    from monai_ima.harden.overrides import ConfigIds
    from monai_ima.harden.plan import handler_options

    known = handler_options(options.method)
    ids = ConfigIds(options.bundle, ",".join(files)) if options.check else None
    given: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for name, value in further.items():
        argument = name[2:].replace("-", "_")
        id_ = None if ids is None or argument in known else ids.find(name[2:])
        if argument in known:
            given[argument] = value
        elif id_ is not None:
            overrides[id_] = value
        else:
            otherwise = f"one of {', '.join(known)}, or an option of harden (see --help)"
            near = [*known, *option_names(options), *(ids.near(name[2:]) if ids is not None else ())]
            raise unknown_option(name, near, otherwise, of=f" of method {options.method}")
    return given, overrides


def _check_writable(file: Path) -> None:
    if file.exists():
        raise FileExistsError(f"File {file} exists, expected a bundle without it: move it away or give another method.")
    if not os.access(file.parent, os.W_OK):
        raise PermissionError(f"Folder {file.parent} is read-only, expected one that can be written to.")
