"""What an evaluation is asked for. Only its checks import torch: ``--help`` shows the fields of the settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from monai_ima.utils.attack_names import strongest
from monai_ima.utils.checks import (
    TASKS,
    check_bool,
    check_bounds,
    check_channels,
    check_choice,
    check_count,
    check_ignore_index,
    check_not_negative,
    check_output,
    check_path,
    check_seed,
    check_task,
    check_text,
    shown,
)
from monai_ima.utils.perturbation_names import PERTURBATION_NAMES

if TYPE_CHECKING:
    from .perturbation_list import ListedPerturbation

__all__ = [
    "BOUNDS",
    "CHANNELS",
    "CHECKPOINT",
    "CONFIG",
    "IGNORE_INDEX",
    "OUTPUT",
    "SIGMOID",
    "TASK",
    "EvaluationSettings",
    "FilePath",
    "Text",
    "check_levels",
]


def check_levels(levels: Sequence[float] | float) -> list[float]:
    """``levels`` in rising order without repeats, 0 first.

    Raises:
        ValueError: if there is none, or one is not a finite number >= 0 in float32.
    """
    given: tuple[Any, ...] = (
        tuple(levels) if isinstance(levels, Iterable) and not isinstance(levels, str) else (levels,)
    )
    if not given:
        raise ValueError(f"Got levels {shown(levels)}, expected at least one finite number >= 0.")
    for level in given:
        check_not_negative("level", level)
    return sorted({0.0, *(float(level) for level in given)})


def _switch(name: str, optional: bool = False) -> BeforeValidator:
    return BeforeValidator(lambda value: None if optional and value is None else check_bool(name, value))


def _text(value: Any, info: ValidationInfo) -> str | None:
    return None if value is None else check_text(str(info.field_name), value)


def _path(value: Any, info: ValidationInfo) -> str | None:
    return None if value is None else check_path(str(info.field_name), value)


Text = Annotated[str | None, BeforeValidator(_text)]
FilePath = Annotated[str | None, BeforeValidator(_path)]
Levels = Annotated[tuple[float, ...], BeforeValidator(check_levels)]
Channels = Annotated[tuple[int, ...] | None, BeforeValidator(check_channels)]
Bounds = Annotated[tuple[float, float] | None, BeforeValidator(check_bounds)]
MAX_EOT = 10_000
MAX_CASES = 100
SEED = BeforeValidator(check_seed)
DISTANCE = BeforeValidator(lambda value: check_not_negative("tolerance", value))
PASSES = BeforeValidator(lambda value: check_count("eot", value, 1, MAX_EOT))


ATTACKS = (
    "pgd100x2 (100 steps, 2 restarts), apgd100x2-ce, apgd100-dlr, ddn100, fgsm, ifgsm10, spsa100x128 (gradient-free: "
    "100 steps of 128 directions) or noise100 (draws of uniform random noise); for segmentations also pgd100x2-dice "
    "and pgd100x2-ce (one loss alone); several joined by + (the worst counts; a sample that one of them broke is not "
    "attacked again). Default: pgd100x2; for segmentations on Dice and cross-entropy, together and each alone."
)
TASK = f"One of {', '.join(TASKS)}; default: from loss, metrics and metadata."
SIGMOID = "Outputs are independent; default: from the post-processing and the loss."
IGNORE_INDEX = "Label that counts nowhere, such as 255 or -1; default: what the loss or the metric ignores."
BOUNDS = "Valid intensities lo,hi; default: from the transforms."
CHANNELS = "Channels of the image that noise may change, such as 0,1; default: all but maps of clicks."
CHECKPOINT = "Weights; default: the config's ckpt_path, else BUNDLE/models/model.pt."
CONFIG = (
    "File name(s) in BUNDLE/configs, several separated by commas; default: evaluate.json or .yaml, behind the training "
    "config where it builds on that, else the training config."
)
CROSSCHECK = (
    "Verify on 100 samples (4 scans) with independent code: ART and foolbox for classifiers (needs `pip install "
    "'monai-ima[crosscheck]'`), a brute-force search for segmentations."
)
OUTPUT = "Index or key of the network's output that counts; -1: the last; default: the first (HoVerNet: its nuclei)."
MINIMUM = "Find the smallest perturbation that changes each prediction, up to the highest level (classifiers)."
TRANSFER = (
    "Weights of another model of the same network, for --checks: a transfer attack from it must not be the stronger."
)
PERTURBATION = (
    "Also measure worst and average case under changes that scanners make, separated by commas, each maybe with levels "
    f"in its own unit: bias_field@10:20:40,noise,gamma. Names: {', '.join(PERTURBATION_NAMES)}."
)
DRAWS = "Random draws of each size for the average case of --perturbation."
TORCHIO = (
    "Also measure random transforms of TorchIO at the sizes of --perturbation, where it has them (needs `pip install "
    "'monai-ima[torchio]'`)."
)
CASES = "How many of the samples that are broken most easily are drawn, 0 to 100; 0: no pictures of samples."
MAX_DRAWS = 10_000
UNITS = "Of the levels: network, or raw: those of the image files (HU for CT), where all images are scaled alike."


class EvaluationSettings(BaseModel):
    """The settings of one evaluation, checked when they are made; each field's annotation says what it is.

    ``levels`` are >= 0, rise and start with 0; ``eot`` and ``draws`` are 1 to 10 000, ``cases`` 0 to 100; ``bundle`` is
    None if the network is not from a bundle; ``overrides`` are values of the bundle's config ids.

    Raises:
        FileNotFoundError: if the file of ``groups`` does not exist.
        ValueError: if a value is not as stated, in one sentence.

    Example:
        >>> EvaluationSettings(bundle="oct", levels=(0.5,), norm="l2").levels
        (0.0, 0.5)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Annotated[FilePath, "Folder of the bundle."] = None
    levels: Annotated[Levels, "Perturbation budgets ε, such as 0,0.02,0.05 (see --units)."]
    norm: Annotated[str, "l2 or linf."] = "linf"
    attack: Annotated[str | None, ATTACKS] = None
    out: Annotated[FilePath, "Folder to write to; default: BUNDLE/eval/robustness."] = None
    checkpoint: Annotated[FilePath, CHECKPOINT] = None
    config: Annotated[Text, CONFIG] = None
    seed: Annotated[int, SEED, "Of the random starts."] = 0
    tolerance: Annotated[
        float, DISTANCE, "Of surface Dice, in mm; in voxels where images do not know how large these are."
    ] = 1.0
    units: Annotated[str, UNITS] = "network"
    minimum: Annotated[bool, _switch("minimum"), MINIMUM] = False
    checks: Annotated[
        bool, _switch("checks"), "Gradient-masking checks: obfuscated gradients, weak attacks, randomness."
    ] = False
    transfer_from: Annotated[FilePath, TRANSFER] = None
    crosscheck: Annotated[bool, _switch("crosscheck"), CROSSCHECK] = False
    eot: Annotated[int, PASSES, "Expectation over transformation: averaged passes of a randomised network."] = 1
    cases: Annotated[int, BeforeValidator(lambda value: check_count("cases", value, 0, MAX_CASES)), CASES] = 10
    perturbation: Annotated[Text, PERTURBATION] = None
    draws: Annotated[int, BeforeValidator(lambda value: check_count("draws", value, 1, MAX_DRAWS)), DRAWS] = 10
    torchio: Annotated[bool, _switch("torchio"), TORCHIO] = False
    task: Annotated[str | None, BeforeValidator(check_task), TASK] = None
    sigmoid: Annotated[bool | None, _switch("sigmoid", optional=True), SIGMOID] = None
    ignore_index: Annotated[int | None, BeforeValidator(check_ignore_index), IGNORE_INDEX] = None
    bounds: Annotated[Bounds, BOUNDS] = None
    channels: Annotated[Channels, CHANNELS] = None
    output: Annotated[int | str | None, BeforeValidator(check_output), OUTPUT] = None
    groups: Annotated[FilePath, "CSV file with a column sample_id and others."] = None
    group_by: Annotated[Text, "Column of --groups: results for each of its values (scanner, site, sex)."] = None
    overrides: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    @cached_property
    def column(self) -> dict[str, str] | None:
        """The group of every sample id, read from the file of ``groups``; None without groups."""
        from .subgroups import read_column

        if self.groups is None or self.group_by is None:
            return None
        return read_column(self.groups, self.group_by)

    @cached_property
    def perturbations(self) -> tuple[ListedPerturbation, ...]:
        """Those of ``perturbation``, with their levels; empty without it."""
        from .perturbation_list import perturbation_list

        return () if self.perturbation is None else perturbation_list(self.perturbation)

    @property
    def folder(self) -> Path:
        """What the evaluation writes to."""
        return Path(self.out) if self.out is not None else Path(self.bundle or ".") / "eval" / "robustness"

    def arguments(self) -> dict[str, Any]:
        """Option and value, as JSON has them; ``overrides`` are options too."""
        all_cases = self.cases == type(self).model_fields["cases"].default
        used = {"draws": self.perturbation is not None, "torchio": self.torchio, "cases": not all_cases}
        unused = {name for name, is_used in used.items() if not is_used}
        values = self.model_dump(exclude={"overrides", *unused})
        return json.loads(json.dumps({**values, **self.overrides}, default=str))

    @property
    def from_command_line(self) -> bool:
        """These settings are those of the command line, not of a call in Python."""
        return self.bundle is not None

    def attack_names(self, segments: bool) -> str:
        """The attacks' names joined by ``+``: those asked for, else the task's default.

        Args:
            segments: the network segments.
        """
        return strongest(segments) if self.attack is None else self.attack

    @model_validator(mode="after")
    def _known_attack(self) -> Self:
        from monai_ima.attacks import attack_from_name
        from monai_ima.criteria import DiceCriterion

        attack_from_name(self.attack_names(False), self.norm, criterion=DiceCriterion())
        for listed in self.perturbations:
            for name in self.attack_names(False).split("+"):
                attack_from_name(name, self.norm, criterion=DiceCriterion(), perturbation=listed.perturbation)
        return self

    @model_validator(mode="after")
    def _known_groups(self) -> Self:
        if (self.groups is None) != (self.group_by is None):
            raise ValueError("Options --groups and --group_by go together, expected both or neither.")
        _ = self.column
        return self

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        check_choice("units", self.units, ("network", "raw"))
        if self.transfer_from is not None and not self.checks:
            raise ValueError("Option --transfer_from is for --checks, expected both.")
        if self.perturbation is None and self.draws != type(self).model_fields["draws"].default:
            raise ValueError("Option --draws is for --perturbation, expected both.")
        if self.perturbation is None and self.torchio:
            raise ValueError("Option --torchio is for --perturbation, expected both.")
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
    return f"Got {name} {shown(first['input'])}, expected {first['msg'].removeprefix('Input should be ')}."
