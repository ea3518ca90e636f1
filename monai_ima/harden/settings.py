"""The settings of a hardening that the user gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_ima import handlers
from monai_ima.utils.checks import check_bool, check_bounds, check_count, check_positive, is_number

__all__ = ["METHODS", "TASKS", "HardenSettings", "handler_options"]

METHODS = {
    "ima": handlers.IMAHandler,
    "pgd": handlers.PGDTrainingHandler,
    "trades": handlers.TRADESHandler,
    "iaat": handlers.IAATHandler,
    "mma": handlers.MMAHandler,
    "ddn": handlers.DDNHandler,
}
TASKS = ("classification", "multi-label", "segmentation")
SET_BY_PLAN = {"eps", "eps_max", "norm", "criterion", "bounds", "sample_key", "first_pass", "start_epoch"}
"""Arguments of the handlers that are not options of their own."""


@dataclass(frozen=True)
class HardenSettings:
    """Settings of a hardening; what is None is inferred from the bundle.

    Attributes:
        method: one of :data:`METHODS`.
        eps_max: ε_max > 0 (ε, for pgd and trades), in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``; None: linf, l2 for ddn.
        pretrained: checkpoint to fine-tune; None: ``models/model.pt`` of the bundle where there is one.
        min_clean: lowest clean validation metric of weights that are kept.
        task: one of :data:`TASKS`.
        sigmoid: the outputs are independent of each other.
        bounds: valid intensities (lo, hi), lo < hi.
        threshold: of a segmentation's Dice: in (0, 1], ``"baseline"`` or ``"relative:q"``.
        epochs: number of epochs, >= 1.
        val_eps: ε > 0 of the validation under attack; None: half of ``eps_max``.
        val_steps: PGD steps of the validation under attack, >= 1.
        handler_options: further arguments of the method's handler.

    Raises:
        ValueError: if a setting is outside of its range, or the method has no such option.
    """

    method: str = "ima"
    eps_max: float | None = None
    norm: str | None = None
    pretrained: str | None = None
    min_clean: float | None = None
    task: str | None = None
    sigmoid: bool | None = None
    bounds: tuple[float, float] | None = None
    threshold: float | str | None = None
    epochs: int | None = None
    val_eps: float | None = None
    val_steps: int = 20
    handler_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = handler_options(self.method)
        for name in self.handler_options:
            if name not in known:
                raise ValueError(f"Unknown option {name} of method {self.method}, expected one of {', '.join(known)}.")
        if self.norm not in (None, "l2", "linf"):
            raise ValueError(f"Unknown norm {self.norm!r}, expected 'l2' or 'linf'.")
        if self.method == "ddn" and self.norm == "linf":
            raise ValueError("Got norm 'linf' for method ddn, expected l2: its attack finds the nearest point in L2.")
        if self.task not in (None, *TASKS):
            raise ValueError(f"Unknown task {self.task!r}, expected one of {', '.join(TASKS)}.")
        if self.sigmoid is not None:
            check_bool("sigmoid", self.sigmoid)
        if self.min_clean is not None and not is_number(self.min_clean):
            raise ValueError(f"Got min_clean {self.min_clean!r}, expected a value of the clean key metric.")
        checked: dict[str, Any] = {"bounds": check_bounds(self.bounds)}
        for name in ("epochs", "val_steps"):
            checked[name] = None if getattr(self, name) is None else check_count(name, getattr(self, name), 1)
        for name in ("eps_max", "val_eps"):
            checked[name] = None if getattr(self, name) is None else check_positive(name, getattr(self, name))
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def handler_options(method: str) -> list[str]:
    """The arguments of a method's handler that are options of their own.

    Raises:
        ValueError: if there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}, expected one of {', '.join(METHODS)}.")
    return sorted(set(inspect.signature(METHODS[method]).parameters) - SET_BY_PLAN)
