"""What ``results.json`` says of perturbations with parameters: worst and average case at rising size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .base import Count, Curve, Interval, Levels, Number, Part, mismatch
from .parts import Case

__all__ = ["CaseCurve", "Degradation", "PerturbationResult", "PerturbedSample", "mean_degradation"]


class _MaybeTorchIO(Part):
    """Base of what has ``torchio`` only where TorchIO's random transforms were measured; else it is not written."""

    @model_serializer(mode="wrap")
    def _only_if_measured(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = write(self)
        return {key: value for key, value in written.items() if key != "torchio" or value is not None}


class PerturbedSample(_MaybeTorchIO):
    """One sample under a perturbation of rising size.

    Attributes:
        sample_id: of the sample.
        patient: whom the sample is of; None where the data do not say.
        worst: for every size the lowest score that an attack or a random draw has found up to it: 1 or 0 for a correct
            or wrong class, of a segmentation the mean foreground Dice.
        average: the mean score over random draws of exactly that size; None where nothing is left of the label in any.
        torchio: the same over random TorchIO transforms of matched size; None where they were not measured.
    """

    sample_id: str
    patient: str | None = None
    worst: list[Annotated[float, Field(ge=0, le=1)]]
    average: Curve
    torchio: Curve | None = None

    @property
    def degradation(self) -> float:
        """:func:`mean_degradation` of its worst case; -inf for a sample that scores 0 without any change."""
        found = mean_degradation(self.worst)
        return -math.inf if found is None else found


class CaseCurve(Part):
    """The mean score at every size, with 95 % intervals."""

    values: Curve
    intervals: Sequence[Interval]


class Degradation(_MaybeTorchIO):
    """:func:`mean_degradation` of worst and average case and of ``torchio``; None where it is not defined."""

    worst: Number
    average: Number
    torchio: Number = None


class PerturbationResult(_MaybeTorchIO):
    """The scores under one perturbation.

    Attributes:
        name: as the evaluation was asked for it, without its levels.
        title: in words.
        unit: of the levels.
        levels: sizes, rising, the first is 0.
        attacks: that the worst case is of, beside the draws; each climbs in the perturbation's parameters.
        draws: of random parameters of exactly each size, for every sample.
        worst: the lowest score that attacks and draws found.
        average: the mean over the draws.
        torchio: the mean over as many random TorchIO transforms of matched size; None where they were not measured.
        degradation: of all.
        samples: the scores of every sample.
        case: the sample that is broken most easily, at the smallest size that breaks it, else at the largest; None
            where none can be drawn.
    """

    name: str
    title: str
    unit: str
    levels: Levels
    attacks: list[str] = Field(min_length=1)
    draws: Count
    worst: CaseCurve
    average: CaseCurve
    torchio: CaseCurve | None = None
    degradation: Degradation
    samples: list[PerturbedSample]
    case: Case | None

    @model_validator(mode="after")
    def _one_value_for_every_level(self) -> Self:
        for name in ("worst", "average", "torchio"):
            case = getattr(self, name)
            if case is None:
                continue
            rows: list[tuple[tuple[str | int, ...], Sequence[object]]] = [
                ((name, "values"), case.values),
                ((name, "intervals"), case.intervals),
                *((("samples", k, name), getattr(sample, name) or ()) for k, sample in enumerate(self.samples)),
            ]
            for place, row in rows:
                if len(row) != len(self.levels):
                    raise mismatch(place, row, f"{len(self.levels)} entries, one for each of levels")
        return self


def mean_degradation(scores: Sequence[float | None]) -> float | None:
    """The mean over all sizes > 0 of (clean - score) / clean: the share of the clean score that is lost.

    ROOD-MRI's mean degradation (Boone et al. 2023, NeuroImage 278), relative to the clean score.

    Args:
        scores: at every size, the first is the clean one; None where there is none.

    Returns:
        None without a size > 0, where one of them has no score, or of a clean score of 0.

    Example:
        >>> mean_degradation([0.8, 0.6, 0.4])
        0.375
    """
    clean = scores[0]
    known = [score for score in scores[1:] if score is not None]
    if not clean or not known or len(known) < len(scores) - 1:
        return None
    return fmean((clean - score) / clean for score in known)
