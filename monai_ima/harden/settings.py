"""The settings of a hardening that the user gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from monai_ima.utils.checks import (
    check_bool,
    check_bounds,
    check_channels,
    check_count,
    check_ignore_index,
    check_output,
    check_positive,
    is_number,
)

__all__ = ["METHODS", "TASKS", "HardenSettings"]

METHODS = {
    "ima": "IMAHandler",
    "pgd": "PGDTrainingHandler",
    "trades": "TRADESHandler",
    "iaat": "IAATHandler",
    "mma": "MMAHandler",
    "ddn": "DDNHandler",
}
TASKS = ("classification", "multi-label", "segmentation")

EPS_MAX = "Largest ε > 0 (the only one, for pgd and trades), as the network sees it; default: from the normalisation."
PRETRAINED = "Checkpoint to fine-tune; default: BUNDLE/models/model.pt where there is one."
IGNORE_INDEX = "Label that counts nowhere, such as 255 or -1; default: what the loss or the metric ignores."
THRESHOLD = "Of a segmentation's Dice: a number, baseline or relative:0.9; default: baseline with a checkpoint."
CHANNELS = "Channels of the image that noise may change, such as 0,1; default: all but those added as guidance."
OUTPUT = "Index or key of the network's output that counts; -1: the last; default: the first (HoVerNet: its nuclei)."
EPOCHS = "Number of epochs; default: a quarter of the bundle's with a checkpoint, else the bundle's."

CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "ignore_index": lambda _, value: check_ignore_index(value),
    "sigmoid": check_bool,
    "epochs": partial(check_count, least=1),
    "val_steps": partial(check_count, least=1),
    "eps_max": check_positive,
    "val_eps": check_positive,
    "output": lambda _, value: check_output(value),
}


@dataclass(frozen=True, kw_only=True)
class HardenSettings:
    """Settings of a hardening; what is None is inferred from the bundle.

    Raises:
        ValueError: if a setting is outside of its range.
    """

    method: Annotated[str, f"One of {', '.join(METHODS)}."] = "ima"
    eps_max: Annotated[float | None, EPS_MAX] = None
    norm: Annotated[str | None, "l2 or linf; default: linf, l2 for ddn."] = None
    pretrained: Annotated[str | None, PRETRAINED] = None
    min_clean: Annotated[float | None, "Keep only weights whose clean validation metric is at least that."] = None
    task: Annotated[str | None, f"One of {', '.join(TASKS)}; default: from loss, metrics and metadata."] = None
    sigmoid: Annotated[bool | None, "Outputs are independent; default: from the post-processing and the loss."] = None
    ignore_index: Annotated[int | None, IGNORE_INDEX] = None
    bounds: Annotated[tuple[float, float] | None, "Valid intensities lo,hi; default: from the transforms."] = None
    channels: Annotated[Sequence[int] | None, CHANNELS] = None
    threshold: Annotated[float | str | None, THRESHOLD] = None
    epochs: Annotated[int | None, EPOCHS] = None
    output: Annotated[int | str | None, OUTPUT] = None
    val_eps: Annotated[float | None, "ε > 0 of the validation under attack; default: half of eps_max."] = None
    val_steps: Annotated[int, "PGD steps >= 1 of the validation under attack."] = 20
    handler_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Unknown method {self.method!r}, expected one of {', '.join(METHODS)}.")
        if self.norm not in (None, "l2", "linf"):
            raise ValueError(f"Unknown norm {self.norm!r}, expected 'l2' or 'linf'.")
        if self.method == "ddn" and self.norm == "linf":
            raise ValueError("Got norm 'linf' for method ddn, expected l2: its attack finds the nearest point in L2.")
        if self.task not in (None, *TASKS):
            raise ValueError(f"Unknown task {self.task!r}, expected one of {', '.join(TASKS)}.")
        if self.min_clean is not None and not is_number(self.min_clean):
            raise ValueError(f"Got min_clean {self.min_clean!r}, expected a value of the clean key metric.")
        object.__setattr__(self, "bounds", check_bounds(self.bounds))
        object.__setattr__(self, "channels", check_channels(self.channels))
        for name, check in CHECKS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check(name, getattr(self, name)))
