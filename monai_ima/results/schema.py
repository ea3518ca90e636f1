"""``results.json``, written and read by one class for each task.

``python -m monai_ima.results.schema > docs/results_schema.json`` writes the JSON schema that docs/ shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, PrivateAttr, TypeAdapter, ValidationError
from pydantic import model_validator as check
from pydantic_core import from_json

from .part import (
    Count,
    Curve,
    Distances,
    Fraction,
    Interval,
    NonNegative,
    Part,
    Positive,
    mismatch,
    one_sentence,
    shown,
)
from .records import CheckResult, SampleRecord, ScanRecord, VerificationRow

__all__ = [
    "FORMAT",
    "AttackCurve",
    "Case",
    "ClassificationResults",
    "Data",
    "Gap",
    "Groups",
    "Minimum",
    "Model",
    "Noise",
    "Results",
    "SegmentationResults",
    "Units",
    "Verification",
    "json_schema",
]

FORMAT: Final = 3
RESULTS = "results.json"
PNG = b"\x89PNG\r\n\x1a\n"


def _rising(levels: Any) -> Any:
    numbers = isinstance(levels, (list, tuple)) and all(type(level) in (int, float) for level in levels)
    if numbers and (not levels or any(b <= a for a, b in pairwise(levels))):
        raise ValueError("at least one perturbation budget, rising")
    return levels


class Model(Part):
    """The network that was attacked; ``checkpoint`` is the file its weights came from, None where none was named."""

    name: str
    version: str | None
    network: str
    parameters: Count
    checkpoint: str | None


class Data(Part):
    """What it was attacked on; ``patients`` is None where the data do not say whom the samples are of."""

    name: str
    licence: str | None
    synthetic: bool
    samples: Count
    patients: Count | None


class AttackCurve(Part):
    """The mean score at every ε under an attack and all before it, with 95 % intervals."""

    name: str
    values: list[Fraction]
    intervals: Sequence[Interval]


@dataclass(frozen=True)
class Units:
    """``ε * per_unit`` is ε in the data's own intensity, such as HU."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.model_config
    name: str
    per_unit: Positive


class Noise(Part):
    """Share of the draws of uniform random noise, at every ε, that break a correct prediction."""

    draws: Count
    failure_rate: Curve


class Minimum(Part):
    """Smallest perturbations that break a sample, searched up to ε = ``up_to``; ``of`` counts the correct samples."""

    up_to: Positive
    found: Count
    of: Count
    median: NonNegative | None

    @check(mode="after")
    def _found_at_most_all(self) -> Self:
        if self.found > self.of:
            raise mismatch(["found"], self.found, f"at most {self.of}, the correctly classified samples")
        return self


class Gap(Part):
    """The largest difference of score between two subgroups."""

    level: NonNegative
    between: tuple[str, str]
    gap: Fraction


class Groups(Part):
    """Scores by subgroup of the samples."""

    column: str
    samples: dict[str, Count] = Field(min_length=1)
    values: Mapping[str, Curve]
    intervals: Mapping[str, Sequence[Interval]]
    largest_gap: Gap | None

    @check(mode="after")
    def _groups_are_known(self) -> Self:
        for name in self.samples:
            for key, table in (("values", self.values), ("intervals", self.intervals)):
                if name not in table:
                    raise mismatch([key], list(table), f"an entry for the group {name}")
        for k, name in enumerate(self.largest_gap.between if self.largest_gap else ()):
            if name not in self.samples:
                raise mismatch(["largest_gap", "between", k], name, f"one of {', '.join(self.samples)}")
        return self


class Verification(Part):
    """Scores at one ε by independent code."""

    epsilon: NonNegative
    samples: Count
    rows: list[VerificationRow]


class Case(Part):
    """One of the cases that are broken most easily; ``picture`` is a PNG file in the folder of the results."""

    sample_id: str
    epsilon: NonNegative
    summary: str
    picture: str


class Results(Part):
    """What every ``results.json`` says, whatever the task.

    Attributes:
        command: that measured it.
        settings: option and value of the evaluation.
        levels: perturbation budgets ε, rising.
        units: None where ε has no size in the data's own intensity.
        attacks: cumulative; the last is the strongest.
        noise: uniform random noise beside the attacks; None where it was not drawn.
        minimum, groups, checks, crosscheck: None where they were not asked for.
        cases: those that are broken most easily come first.
    """

    format: Literal[3]
    task: str
    metric: str
    model: Model
    data: Data
    command: str
    settings: dict[str, JsonValue]
    machine: str
    versions: dict[str, str]
    norm: Literal["l2", "linf"]
    levels: Annotated[list[NonNegative], BeforeValidator(_rising)]
    units: Units | None
    classes: list[str]
    attacks: list[AttackCurve]
    noise: Noise | None
    minimum: Minimum | None
    groups: Groups | None
    checks: list[CheckResult] | None
    crosscheck: Verification | None
    cases: list[Case]

    _file: Path | None = PrivateAttr(None)
    _digest: str = PrivateAttr("")
    _pictures: list[bytes] = PrivateAttr(default_factory=list)
    _label: str | None = PrivateAttr(None)

    @property
    def strongest(self) -> AttackCurve:
        """The curve that counts: under all attacks."""
        return self.attacks[-1]

    @property
    def failed(self) -> list[CheckResult]:
        """The checks for gradient masking that failed."""
        return [result for result in self.checks or () if result.status == "failed"]

    @property
    def by_class(self) -> Mapping[str, Curve]:
        """Score of every class under all attacks, by the class's name."""
        return getattr(self, f"{self.metric}_by_class")

    @property
    def surface(self) -> dict[str, Curve | Distances]:
        """``surface_dice`` and ``hd95`` (mm) at every ε; empty for classifications."""
        return {}

    def command_with(self, option: str) -> str:
        """The command, or the call from Python, with one more option switched on."""
        if self.command.endswith(")"):
            return f"{self.command[:-1]}, {option}=True)"
        return f"{self.command} --{option}"

    @property
    def file(self) -> Path:
        """What it was read from or written to.

        Raises:
            ValueError: if it was neither.
        """
        if self._file is None:
            raise ValueError("These results belong to no file, expected them to be read or written first.")
        return self._file

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return self._digest

    @property
    def pictures(self) -> list[bytes]:
        """The PNG picture of each of ``cases``, where the results were read from a file."""
        return self._pictures

    @property
    def label(self) -> str | None:
        """What the reader calls the model; None means its own name."""
        return self._label

    def named(self, label: str) -> Self:
        """The same results of a model that the reader calls ``label``."""
        copy = self.model_copy()
        copy._label = label
        return copy

    @staticmethod
    def read(path: str | Path) -> ClassificationResults | SegmentationResults:
        """Read and check a results file.

        Args:
            path: the file, or the folder that holds it as ``results.json``.

        Raises:
            FileNotFoundError: if the file, or a picture that it names, does not exist.
            ValueError: if it is not as an evaluation of this version writes it; names file and key.
        """
        file = Path(path)
        file = file / RESULTS if file.is_dir() else file
        if not file.is_file():
            raise FileNotFoundError(f"File {file} does not exist, expected results of 'python -m monai_ima evaluate'.")
        text = file.read_bytes()
        kind = TASKS[_task(file, text)]
        try:
            results = kind.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(one_sentence(error, file)) from None
        results._file, results._digest = file, hashlib.sha256(text).hexdigest()
        results._pictures = [_picture(file, k, case) for k, case in enumerate(results.cases)]
        return results

    def write(self, path: str | Path) -> Path:
        """Write ``results.json``, under another name first: it is there whole or not at all.

        Args:
            path: the folder to write to.
        """
        file = Path(path) / RESULTS
        unfinished = file.with_suffix(".part")
        unfinished.write_text(json.dumps(self.model_dump(), indent=1, allow_nan=False), encoding="utf-8")
        unfinished.replace(file)
        self._file, self._digest = file, hashlib.sha256(file.read_bytes()).hexdigest()
        return file

    @check(mode="after")
    def _one_value_for_every_level(self) -> Self:
        if not self.attacks:
            raise mismatch(["attacks"], self.attacks, "at least one attack")
        for key, value in self._curves():
            if len(value) != len(self.levels):
                raise mismatch(key, value, f"{len(self.levels)} entries, one for each of levels")
        return self

    def _curves(self) -> list[tuple[Sequence[str | int], Sequence[Any]]]:
        """Key and value of everything that has one value for every ε."""
        curves: list[tuple[Sequence[str | int], Sequence[Any]]] = []
        for k, attack in enumerate(self.attacks):
            curves += [(["attacks", k, "values"], attack.values), (["attacks", k, "intervals"], attack.intervals)]
        if self.noise is not None:
            curves.append((["noise", "failure_rate"], self.noise.failure_rate))
        if self.groups is not None:
            for key, table in (("values", self.groups.values), ("intervals", self.groups.intervals)):
                curves += [(["groups", key, name], curve) for name, curve in table.items()]
        return curves

    def _check_count(self, count: int) -> None:
        if count != self.data.samples:
            raise mismatch(["data", "samples"], self.data.samples, f"{count}, the number of entries of samples")


class ClassificationResults(Results):
    """``results.json`` of a classification; accuracy is under all attacks."""

    task: Literal["classification"]
    metric: Literal["accuracy"]
    accuracy: list[Fraction]
    accuracy_by_class: Mapping[str, Curve]
    samples: list[SampleRecord]

    def _curves(self) -> list[tuple[Sequence[str | int], Sequence[Any]]]:
        by_class = [(["accuracy_by_class", name], curve) for name, curve in self.accuracy_by_class.items()]
        return [*super()._curves(), (["accuracy"], self.accuracy), *by_class]

    @check(mode="after")
    def _samples_agree(self) -> Self:
        self._check_count(len(self.samples))
        for k, sample in enumerate(self.samples):
            for name, level in sample.broken_at.items():
                if level is not None and level not in self.levels:
                    raise mismatch(["samples", k, "broken_at", name], level, "one of the levels")
        found = sum(sample.correct and sample.distance is not None for sample in self.samples)
        if self.minimum is not None and self.minimum.found != found:
            expected = f"{found}, the correctly classified samples that have a distance"
            raise mismatch(["minimum", "found"], self.minimum.found, expected)
        return self


class SegmentationResults(Results):
    """``results.json`` of a segmentation; means over scans, under all attacks, distances in mm."""

    task: Literal["segmentation"]
    metric: Literal["dice"]
    dice: Curve
    surface_dice: Curve
    hd95: Distances
    dice_by_class: Mapping[str, Curve]
    surface_dice_by_class: Mapping[str, Curve]
    hd95_by_class: Mapping[str, Distances]
    hd95_undefined: list[Count]
    samples: list[ScanRecord]

    @property
    def surface(self) -> dict[str, Curve | Distances]:
        """``surface_dice`` and ``hd95`` (mm) at every ε."""
        return {"surface_dice": self.surface_dice, "hd95": self.hd95}

    def _curves(self) -> list[tuple[Sequence[str | int], Sequence[Any]]]:
        curves = [*super()._curves(), (["hd95_undefined"], self.hd95_undefined)]
        for metric in ("dice", "surface_dice", "hd95"):
            by_class = getattr(self, f"{metric}_by_class")
            curves.append(([metric], getattr(self, metric)))
            curves += [([f"{metric}_by_class", name], curve) for name, curve in by_class.items()]
        return curves

    @check(mode="after")
    def _classes_and_samples_agree(self) -> Self:
        self._check_count(len(self.samples))
        for key in ("surface_dice_by_class", "hd95_by_class"):
            for name in self.dice_by_class:
                if name not in getattr(self, key):
                    raise mismatch([key], list(getattr(self, key)), f"an entry for the class {name}")
        return self


TASKS: Mapping[str, type[ClassificationResults | SegmentationResults]] = {
    "classification": ClassificationResults,
    "segmentation": SegmentationResults,
}


def json_schema() -> str:
    """The JSON schema of ``results.json``."""
    kinds: TypeAdapter[Any] = TypeAdapter(
        Annotated[ClassificationResults | SegmentationResults, Field(discriminator="task")]
    )
    return json.dumps(kinds.json_schema(), indent=1, ensure_ascii=False) + "\n"


def _task(file: Path, text: bytes) -> str:
    """The task of a results file of this format."""
    try:
        content = from_json(text)
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}), expected results of 'python -m monai_ima evaluate'.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is {shown(content)}, expected an object, results of 'python -m monai_ima evaluate'.")
    found = content.get("format")
    if found != FORMAT:
        raise ValueError(f"{file} has format {found!r}, expected {FORMAT}: evaluate again with this monai_ima.")
    if "task" not in content:
        raise ValueError(f"{file} has no task, expected it as 'python -m monai_ima evaluate' writes it.")
    if content["task"] not in TASKS:
        raise ValueError(f"task in {file} is {shown(content['task'])}, expected one of {', '.join(TASKS)}.")
    return content["task"]


def _picture(file: Path, k: int, case: Case) -> bytes:
    """The bytes of a case's picture."""
    key, folder = f"cases[{k}].picture in {file}", file.parent.resolve()
    picture = (folder / case.picture).resolve()
    if not picture.is_relative_to(folder):
        raise ValueError(f"{key} is {shown(case.picture)}, expected a file in the folder of the results.")
    if not picture.is_file():
        raise FileNotFoundError(f"Picture {picture}, named by {key}, does not exist.")
    content = picture.read_bytes()
    if not content.startswith(PNG):
        raise ValueError(f"Picture {picture}, named by {key}, is not a PNG file.")
    return content


if __name__ == "__main__":
    print(json_schema(), end="")
