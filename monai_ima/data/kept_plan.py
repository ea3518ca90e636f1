"""What a training was sized by, kept beside its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from monai_ima.utils.checks import check_instance, check_path, shown
from monai_ima.utils.distributed import rank
from monai_ima.utils.files import whole_file
from monai_ima.utils.text import read_text

__all__ = ["keep_plan", "plan_file", "read_plan"]

FILE = "plan.json"

Plan = TypeVar("Plan", bound=BaseModel)


def keep_plan(folder: str | os.PathLike, plan: BaseModel, overwrite: bool = False) -> None:
    """Write a plan into the folder that a training's weights go to; the first of several processes does.

    Args:
        folder: of the weights.
        plan: of the training.
        overwrite: another plan may be there already.

    Raises:
        ValueError: if another plan is there and must not be overwritten.
    """
    check_instance("plan", plan, BaseModel, "a VolumePlan or an ImagePlan")
    file = Path(check_path("folder", folder)) / FILE
    if rank() > 0:
        return
    if file.is_file() and not overwrite:
        kept = read_plan(file, type(plan))
        for name, value in plan:
            if getattr(kept, name) != value:
                raise ValueError(
                    f"Folder {folder} holds weights of {name} {shown(getattr(kept, name))}, expected {shown(value)}: "
                    "name another ckpt_dir, or set overwrite."
                )
    with whole_file(file) as unfinished:
        unfinished.write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")


def plan_file(weights: str | os.PathLike) -> Path:
    """Where the plan of weights is, if there is one."""
    return Path(check_path("weights", weights)).parent / FILE


def read_plan(file: Path, kind: type[Plan]) -> Plan:
    """The plan in a file.

    Raises:
        ValueError: if it is damaged; the sentence names the entry.
    """
    try:
        return kind.model_validate_json(read_text(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"File {file} cannot be read ({where}: {first['msg']}), expected a training's plan.") from None
