"""The parts of ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from .base import Count, Curve, Fraction, Interval, NonNegative, Part, Positive, mismatch
from .records import VerificationRow

__all__ = [
    "AttackCurve",
    "Case",
    "Data",
    "Gap",
    "Groups",
    "ImageValues",
    "Minimum",
    "Model",
    "Noise",
    "Units",
    "Verification",
]


class Model(Part):
    """The network that was attacked.

    Attributes:
        checkpoint: the file its weights came from, None where none was named.
        sha256: of the weights (:func:`~monai_ima.utils.weights.weights_digest`); None in results of older versions.
        output: index or key of the network's output that was judged; None: its only or first one.
    """

    name: str
    version: str | None
    network: str
    parameters: Count
    checkpoint: str | None
    sha256: str | None = None
    output: int | str | None = None


class Data(Part):
    """What it was attacked on.

    Attributes:
        patients: None where the data do not say whom the samples are of.
        sha256: of all samples' ids, sizes and labels; None in results of older versions.
        validation: they are read as the validation data of the bundle's training config, by which its weights may have
            been chosen.
    """

    name: str
    licence: str | None
    synthetic: bool
    samples: Count
    patients: Count | None
    sha256: str | None = None
    validation: bool = False


class AttackCurve(Part):
    """The mean score at every ε under an attack and all before it, with 95 % intervals."""

    name: str
    values: list[Fraction]
    intervals: Sequence[Interval]


@dataclass(frozen=True)
class Units:
    """One unit that the network sees is ``per_unit`` of the data's own intensity: HU, grey levels, SD of the image."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.model_config
    name: str
    per_unit: Positive


class ImageValues(Part):
    """How many values of one sample noise may change, those of its attacked channels: over all samples.

    Attributes:
        dimensions: of space: 1 of signals, 2 of images, 3 of volumes; None in results of older versions.
    """

    fewest: Annotated[int, Field(ge=1)]
    median: Positive
    most: Annotated[int, Field(ge=1)]
    dimensions: Annotated[int, Field(ge=0)] | None = None


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

    @model_validator(mode="after")
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

    @model_validator(mode="after")
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
