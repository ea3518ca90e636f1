"""The settings of a hardening that the user gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Any

from monai_ima.results.settings import BOUNDS, CHANNELS, IGNORE_INDEX, OUTPUT, SIGMOID, TASK
from monai_ima.utils.checks import (
    check_bool,
    check_bounds,
    check_channels,
    check_count,
    check_finite_number,
    check_ignore_index,
    check_output,
    check_positive,
    check_task,
)
from monai_ima.utils.perturbation_names import PERTURBATION_NAMES

__all__ = ["METHODS", "HardenSettings", "Stated"]

METHODS = {
    "ima": "IMAHandler",
    "pgd": "PGDTrainingHandler",
    "trades": "TRADESHandler",
    "iaat": "IAATHandler",
    "mma": "MMAHandler",
    "ddn": "DDNHandler",
}

EPS_MAX = (
    "Largest ε > 0 (the only one, for pgd and trades), as the network sees it, or in the perturbation's unit; default: "
    "from the normalisation, or the perturbation's largest usual size."
)
PERTURBATION = (
    f"What ε measures: one of {', '.join(PERTURBATION_NAMES)}, with settings bias_field(points=6), or a chain "
    "bias_field:30+noise:5, of which ε is a share; default: noise added pixel by pixel."
)
PRETRAINED = "Checkpoint to fine-tune; default: BUNDLE/models/model.pt where there is one."
THRESHOLD = "Of a segmentation's Dice: a number, baseline or relative:0.9; default: baseline with a checkpoint."
EPOCHS = "Number of epochs; default: a quarter of the bundle's with a checkpoint, else the bundle's."

CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "task": lambda _, value: check_task(value),
    "sigmoid": check_bool,
    "ignore_index": lambda _, value: check_ignore_index(value),
    "bounds": lambda _, value: check_bounds(value),
    "channels": lambda _, value: check_channels(value),
    "perturbation": lambda _, value: _known_perturbation(value),
    "output": lambda _, value: check_output(value),
    "min_clean": check_finite_number,
    "epochs": partial(check_count, least=1),
    "val_steps": partial(check_count, least=1),
    "eps_max": check_positive,
    "val_eps": check_positive,
}


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user says of a bundle; what is None is read in its configs.

    Attributes:
        task: one of :data:`~monai_ima.utils.checks.TASKS`.
        sigmoid: outputs are independent of each other.
        ignore_index: label that counts nowhere.
        bounds: valid intensities ``(lo, hi)``.
        channels: of the image that noise may change.
        output: index or key of the network's output that counts.

    Raises:
        ValueError: if a value is outside of its range.
    """

    task: str | None = None
    sigmoid: bool | None = None
    ignore_index: int | None = None
    bounds: Sequence[float] | None = None
    channels: Sequence[int] | None = None
    output: int | str | None = None

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def of(cls, options: Any) -> Stated:
        """The part of a verb's options, or of other settings, that is stated of the bundle."""
        return cls(**{each.name: getattr(options, each.name) for each in fields(cls)})

    @property
    def given(self) -> dict[str, Any]:
        """What is stated, by the name of its option."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class HardenSettings:
    """Settings of a hardening; what is None is inferred from the bundle.

    Raises:
        ValueError: if a setting is outside of its range.
    """

    method: Annotated[str, f"One of {', '.join(METHODS)}."] = "ima"
    eps_max: Annotated[float | None, EPS_MAX] = None
    norm: Annotated[str | None, "l2 or linf; default: linf, l2 for ddn."] = None
    perturbation: Annotated[str | None, PERTURBATION] = None
    pretrained: Annotated[str | None, PRETRAINED] = None
    min_clean: Annotated[float | None, "Keep only weights whose clean validation metric is at least that."] = None
    task: Annotated[str | None, TASK] = None
    sigmoid: Annotated[bool | None, SIGMOID] = None
    ignore_index: Annotated[int | None, IGNORE_INDEX] = None
    bounds: Annotated[tuple[float, float] | None, BOUNDS] = None
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
        if self.perturbation is not None and self.norm is not None:
            raise ValueError(f"Got perturbation and norm {self.norm!r}, expected one: a perturbation has its own norm.")
        _check(self)


def _known_perturbation(text: str) -> str:
    from monai_ima.perturbations import perturbation_from_name

    perturbation_from_name(text)
    return text


def _check(settings: Any) -> None:
    """Check those fields of a data class that there is a check for and that are given."""
    for name, check in CHECKS.items():
        if getattr(settings, name, None) is not None:
            object.__setattr__(settings, name, check(name, getattr(settings, name)))
