"""Learning-rate schedules of a resumed training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

__all__ = ["check_schedule", "schedule_settings"]

PLACE = {"base_lrs", "last_epoch", "verbose"}
"""What says where a schedule is, beside its private attributes, not how it goes on."""


def schedule_settings(value: Any) -> dict[str, Any]:
    """The settings of a schedule, such as ``T_max``, with those of the schedules that it is made of; none else."""
    if not isinstance(value, LRScheduler):
        return {}
    own = {
        name: setting
        for name, setting in value.state_dict().items()
        if name not in PLACE and not name.startswith("_") and isinstance(setting, (int, float, str, list, tuple))
    }
    if isinstance(value, SequentialLR):
        own["milestones"] = list(value._milestones)
    parts = value._schedulers if isinstance(value, (SequentialLR, ChainedScheduler)) else ()
    inner = {f"part {k}: {name}": of for k, part in enumerate(parts) for name, of in schedule_settings(part).items()}
    return {**own, **inner}


def check_schedule(file: Path, value: Any, settings: dict[str, Any]) -> None:
    """Refuse a resumed training whose schedule is not the one that was interrupted, or is over.

    Args:
        file: the checkpoint.
        value: one of its objects, already loaded; what is no schedule passes.
        settings: those that the schedule had before it was loaded, of the config.

    Raises:
        ValueError: if they differ from the checkpoint's, or its learning rate is 0.
    """
    if not isinstance(value, LRScheduler):
        return
    for name, now in schedule_settings(value).items():
        if name in settings and settings[name] != now:
            raise ValueError(
                f"Checkpoint {file} was trained with a {type(value).__name__} of {name} {now}, which cannot be changed "
                f"to {settings[name]} on the way: expected the same number of epochs, or a new training that starts "
                "from these weights."
            )
    if all(group["lr"] == 0 for group in value.optimizer.param_groups):
        raise ValueError(
            f"The {type(value).__name__} of checkpoint {file} has come to a learning rate of 0, with which nothing is "
            "trained, expected a new training that starts from these weights."
        )
