from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from monai_ima.harden.settings import HardenSettings
from monai_ima.utils.checks import check_count, check_not_negative

from .arguments import unknown_option
from .options import option_names

if TYPE_CHECKING:
    from monai_ima.harden.plan import Plan
    from monai_ima.harden.search import Tried

__all__ = ["HardenOptions", "harden"]

logger = logging.getLogger(__name__)

CHECK = "Trial run: two iterations, one validation batch under attack. Runs the bundle's code; writes nothing into it."
MAX_CLEAN_LOSS = (
    "Search eps_max: the largest of the given one, a half, a quarter and an eighth of it that loses at most that much "
    "of the clean validation metric. Runs the bundle's code."
)
SEARCH_EPOCHS = "Epochs of each training of that search, >= 1; default: 2."
CONFIG = "File name(s) in BUNDLE/configs, several separated by commas; default: train.json or train.yaml."


@dataclass(frozen=True, kw_only=True)
class HardenOptions(HardenSettings):
    """The options of ``monai-ima harden``."""

    bundle: Annotated[str, "Folder of the bundle."]
    config: Annotated[str | Sequence[str] | None, CONFIG] = None
    trainer: Annotated[str | None, "Id of the trainer, where the config has several."] = None
    dry_run: Annotated[bool, "Show the overlay and write nothing."] = False
    check: Annotated[bool, CHECK] = False
    max_clean_loss: Annotated[float | None, MAX_CLEAN_LOSS] = None
    search_epochs: Annotated[int | None, SEARCH_EPOCHS] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_clean_loss is not None:
            check_not_negative("max_clean_loss", self.max_clean_loss)
        elif self.search_epochs is not None:
            raise ValueError("Option --search_epochs is for --max_clean_loss, expected both.")
        if self.search_epochs is not None:
            check_count("search_epochs", self.search_epochs, 1)


def harden(options: HardenOptions, further: Mapping[str, Any]) -> None:
    """Write an overlay config that turns a MONAI bundle's training into adversarial training.

    Reads the training config without evaluating it, infers task and settings, shows them, writes
    BUNDLE/configs/train_METHOD.json and prints the command that trains. No file of the bundle is touched. Further
    options are those of the method's handler, such as --delta 0.01, --beta 0.5, --update online, --steps 10. Everything
    in the overlay can be overridden when it is run, such as by --harden#eps_max 0.05; with --check any id of the config
    is set for the trial run, such as --dataset_dir DIR, and so it is with --max_clean_loss for its search.

    \b
    Example: monai-ima harden --bundle BUNDLE --pretrained BUNDLE/models/model.pt --min_clean 0.85 --dry_run
    """
    from monai_ima.harden.overlay import evaluation_lines, make_overlay, overlay_text, run_lines
    from monai_ima.harden.parts import find_parts
    from monai_ima.harden.plan import make_plan
    from monai_ima.harden.reading import read_training_config
    from monai_ima.harden.search import search_file, search_table
    from monai_ima.harden.summary import delta_warning, summarize_plan
    from monai_ima.harden.trial import run_trial

    config = read_training_config(options.bundle, options.config)
    handler_options, overrides = _sorted_out(options, further, [file.name for file in config.files])
    plan = make_plan(find_parts(config, options.trainer), replace(options, handler_options=handler_options))
    if not options.dry_run:
        _check_writable(plan.overlay_file)
    elif plan.overlay_file.exists():
        logger.warning("File %s exists: without --dry_run this is refused.", plan.overlay_file)
    tried: list[Tried] = []
    if options.max_clean_loss is not None:
        plan, tried = _searched(plan, options.max_clean_loss, options.search_epochs, overrides)
    overlay = make_overlay(plan)
    print(summarize_plan(plan))
    if warning := delta_warning(plan):
        logger.warning(warning)
    if options.check:
        print(f"Checking: this runs the code of {options.bundle}.")
        print(run_trial(plan, overlay, overrides))
    if options.dry_run:
        print(overlay_text(overlay), end="")
        return
    if tried:
        with open(search_file(plan), "x", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows(search_table(tried))
    with open(plan.overlay_file, "x", encoding="utf-8") as file:
        file.write(overlay_text(overlay))
    lines = [f"Written: {plan.overlay_file}. To train:", *run_lines(plan), *evaluation_lines(plan)]
    print("\n".join(lines))


def _searched(
    plan: Plan, max_loss: float, epochs: int | None, overrides: Mapping[str, Any]
) -> tuple[Plan, list[Tried]]:
    """The plan with the largest ε_max that keeps the clean metric, and what was tried; prints it."""
    from tqdm import tqdm

    from monai_ima.harden.plan import make_plan
    from monai_ima.harden.search import SEARCH_EPOCHS, SHARES, check_searchable, largest_kept, search, search_file

    check_searchable(plan)
    if search_file(plan).exists():
        raise FileExistsError(f"File {search_file(plan)} exists, expected a bundle without it: move it away.")
    epochs = SEARCH_EPOCHS if epochs is None else epochs
    print(f"Searching eps_max: this runs the code of {plan.parts.config.root}.")
    trainings = search(plan, max_loss, epochs, overrides)
    tried = list(tqdm(trainings, desc="trainings", total=1 + len(SHARES)))
    chosen = largest_kept(tried, max_loss)
    print(f"Tried, each for {epochs} epoch(s) from {plan.pretrained} (eps_max 0: trained on plainly):")
    for one in tried:
        mark = " <- chosen" if one.eps_max == chosen else ""
        print(f"{one.eps_max:>12.4g}  clean metric {one.metric:.4f}, loss {one.loss:.4f}{mark}")
    if chosen is None:
        losses = ", ".join(f"{one.eps_max:.4g} loses {one.loss:.4f}" for one in tried[1:])
        raise ValueError(
            f"No eps_max loses at most {max_loss:g} of the clean metric {tried[0].metric:.4f} ({losses}), expected a "
            "larger --max_clean_loss, a smaller --eps_max or more --search_epochs."
        )
    return make_plan(plan.parts, replace(plan.settings, eps_max=chosen)), tried


def _sorted_out(
    options: HardenOptions, further: Mapping[str, Any], files: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The further options: those of the method's handler, and for a trial run ids of the training config."""
    from monai_ima.harden.overrides import ConfigIds
    from monai_ima.harden.plan import handler_options

    known = handler_options(options.method)
    ids = ConfigIds(options.bundle, ",".join(files)) if options.check or options.max_clean_loss is not None else None
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
