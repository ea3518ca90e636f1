"""What an evaluation is asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from monai_ima.attacks import attack_from_name
from monai_ima.criteria import DiceCriterion
from monai_ima.results.subgroups import read_column
from monai_ima.utils.attack_names import STRONGEST_SEGMENTATION
from monai_ima.utils.checks import check_bool, check_count

__all__ = ["EvaluationSettings", "check_levels"]

CLASSIFICATION_ATTACK = "pgd100x2"


def check_levels(levels: Sequence[float] | float) -> list[float]:
    """``levels`` in rising order without repeats, 0 first.

    Raises:
        ValueError: if one is not a finite number >= 0.
    """
    given = levels if isinstance(levels, Sequence) and not isinstance(levels, str) else (levels,)
    for level in given:
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 <= level < math.inf:
            raise ValueError(f"Got level {level!r}, expected finite numbers >= 0.")
    return sorted({0.0, *(float(level) for level in given)})


def _switch(name: str) -> BeforeValidator:
    return BeforeValidator(lambda value: check_bool(name, value))


Text = Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))]
Levels = Annotated[tuple[float, ...], BeforeValidator(check_levels)]


class EvaluationSettings(BaseModel):
    """The settings of one evaluation, checked when they are made.

    Attributes:
        bundle: folder of the bundle; None if the network is not from a bundle.
        levels: perturbation budgets ε >= 0, rising, 0 first, in the units that ``units`` names.
        norm: ``"l2"`` or ``"linf"``.
        attack: names joined by ``+``; None means the task's default.
        out: folder to write to; None means ``eval/robustness`` in the bundle.
        checkpoint: weights; None means the bundle's own.
        config: file name(s) in the bundle's ``configs``, several separated by commas.
        seed: of the random starts.
        tolerance: of surface Dice, in mm.
        units: ``"network"``, or ``"raw"``: the levels are in the intensities of the image files.
        minimum: search for the smallest perturbation of every sample (classifications).
        checks: look for signs of gradient masking.
        transfer_from: weights of another model of the same network, for ``checks``.
        crosscheck: verify with independent code.
        eot: expectation over transformation: passes whose logits are averaged, >= 1.
        groups: CSV file with a column ``sample_id`` and others.
        group_by: column of that file.
        overrides: values of the bundle's config ids.

    Raises:
        FileNotFoundError: if the file of ``groups`` does not exist.
        ValueError: if a value is not as stated, in one sentence.

    Example:
        >>> EvaluationSettings(bundle="oct", levels=(0.5,), norm="l2").levels
        (0.0, 0.5)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Text = None
    levels: Levels
    norm: str = "linf"
    attack: str | None = None
    out: Text = None
    checkpoint: Text = None
    config: Annotated[str, BeforeValidator(str)] = "evaluate.json"
    seed: int = 0
    tolerance: float = 1.0
    units: str = "network"
    minimum: Annotated[bool, _switch("minimum")] = False
    checks: Annotated[bool, _switch("checks")] = False
    transfer_from: Text = None
    crosscheck: Annotated[bool, _switch("crosscheck")] = False
    eot: Annotated[int, BeforeValidator(lambda value: check_count("eot", value, 1))] = 1
    groups: Text = None
    group_by: Text = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    @cached_property
    def column(self) -> dict[str, str] | None:
        """The group of every sample id, read from the file of ``groups``; None without groups."""
        if self.groups is None or self.group_by is None:
            return None
        return read_column(self.groups, self.group_by)

    @property
    def folder(self) -> Path:
        """What the evaluation writes to."""
        return Path(self.out) if self.out is not None else Path(self.bundle or ".") / "eval" / "robustness"

    def arguments(self) -> dict[str, Any]:
        """Option and value, as JSON has them; ``overrides`` are options too."""
        values = self.model_dump(exclude={"overrides"})
        return json.loads(json.dumps({**values, **self.overrides}, default=str))

    def attack_names(self, segments: bool) -> str:
        """The attacks' names joined by ``+``: those asked for, else the task's default.

        Args:
            segments: the network segments.
        """
        return self.attack or (STRONGEST_SEGMENTATION if segments else CLASSIFICATION_ATTACK)

    @model_validator(mode="after")
    def _known_attack(self) -> Self:
        attack_from_name(self.attack or CLASSIFICATION_ATTACK, self.norm, criterion=DiceCriterion())
        names = (self.attack or "").split("+")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"Got the attack {twice[0]} twice in {self.attack!r}, expected each once.")
        return self

    @model_validator(mode="after")
    def _known_groups(self) -> Self:
        if (self.groups is None) != (self.group_by is None):
            raise ValueError("Options --groups and --group_by go together, expected both or neither.")
        _ = self.column
        return self

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        if self.units not in ("network", "raw"):
            raise ValueError(f"Unknown units {self.units!r}, expected 'network' or 'raw'.")
        if self.transfer_from is not None and not self.checks:
            raise ValueError("Option --transfer_from is for --checks, expected both.")
        if (self.checks or self.crosscheck or self.minimum) and len(self.levels) < 2:
            raise ValueError(
                "Only the level 0 was asked for, expected one above it for --minimum, --checks, --crosscheck."
            )
        return self


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's errors in one sentence."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "extra_forbidden":
        return f"Unknown setting {name!r}, expected one of {', '.join(EvaluationSettings.model_fields)}."
    if first["type"] == "missing":
        return f"Setting {name} is missing, expected a value for it."
    return f"Got {name} {first['input']!r}, expected {first['msg'].removeprefix('Input should be ')}."
