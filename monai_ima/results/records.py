"""One line of each of the files that an interrupted evaluation is resumed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from pydantic import Field

from .base import Classes, Count, Fraction, Labels, NonNegative, Number, Part

__all__ = [
    "AttackedImage",
    "CheckResult",
    "SampleRecord",
    "ScanRecord",
    "Scores",
    "VerificationRow",
    "as_outputs",
    "mean_of_known",
    "tally",
]

AGREEMENT = 0.01
"""How far our score may lie above that of independent code: one point."""


class SampleRecord(Part):
    """One sample of a classification under attack at rising ε.

    Attributes:
        sample_id: of the sample.
        label: class index, >= 0; of independent outputs (multi-label) 0 or 1 for each, None where it is unknown.
        predicted: class, or outputs, predicted for the clean image.
        broken_at: for each attack the first ε at which it, or one before it, made the prediction wrong; 0 if it is
            misclassified without an attack, None if it is robust at every ε.
        noisy_predicted: class, or outputs, predicted for the image that broke it; ``predicted`` if it is robust.
        distance: of the nearest misclassified image known to a search for it, 0 if the clean image is misclassified;
            None if it found none, or was not asked for.
        noise_failures: for every ε, how many draws of uniform random noise broke a correct prediction; None if none
            were drawn, or the clean image is misclassified.
        patient: whom the sample is of; None where the data do not say.
        group: its value of the column that subgroups are made by; None without subgroups.
    """

    sample_id: str
    label: Labels
    predicted: Classes
    broken_at: dict[str, NonNegative | None] = Field(min_length=1)
    noisy_predicted: Classes
    distance: NonNegative | None = None
    noise_failures: list[Count] | None = None
    patient: str | None = None
    group: str | None = None

    @property
    def broken(self) -> float | None:
        """The first ε at which any of the attacks broke it."""
        return list(self.broken_at.values())[-1]

    @property
    def correct(self) -> bool:
        """The clean image is classified correctly."""
        return self.broken != 0

    def predicted_at(self, eps: float) -> int | list[int]:
        """What is predicted under all attacks at an ε: for the clean image, or the one that broke the sample."""
        return self.predicted if self.broken is None or self.broken > eps else self.noisy_predicted

    def right_outputs(self, eps: float) -> list[bool | None]:
        """Which of the independent outputs are right under all attacks at an ε, None where the label is unknown."""
        pairs = zip(as_outputs(self.label), as_outputs(self.predicted_at(eps)), strict=True)
        return [None if label is None else label == predicted for label, predicted in pairs]


class Scores(Part):
    """One predicted segmentation against its label; lists have a value for each class that counts.

    Attributes:
        dice: None for a class that the label does not hold.
        surface_dice: share of both surfaces within the tolerance; None as for Dice.
        hd95: 95th percentile of the surfaces' distances (Hausdorff); None also where nothing was predicted.
    """

    dice: list[Fraction | None]
    surface_dice: list[Fraction | None]
    hd95: list[NonNegative | None]

    def mean(self, metric: str) -> float:
        """The mean of a metric over the classes that have it; NaN if none has."""
        return mean_of_known(getattr(self, metric))


class AttackedImage(Part):
    """An image whose adversarial files are written.

    Attributes:
        sample_id: of the image.
        correct: its prediction is correct without noise; None where it has no label that counts.
        broken: that is wrong with the noise; False where it was before, or has no label.
        dice: of a segmentation the mean foreground Dice without noise and with it; else None.
    """

    sample_id: str
    correct: bool | None
    broken: bool
    dice: tuple[Fraction, Fraction] | None = None


class ScanRecord(Part):
    """One scan of a segmentation under attack at rising ε.

    Attributes:
        sample_id: of the scan.
        scores: one for each ε, the clean image's first, at the most adversarial image found so far.
        after: for each attack the mean foreground Dice at every ε, at the most adversarial image that it or an attack
            before it found.
        unit: of its distances; voxels where the image does not know how large they are.
        patient: whom the scan is of; None where the data do not say.
        group: its value of the column that subgroups are made by; None without subgroups.
    """

    sample_id: str
    scores: list[Scores]
    after: dict[str, list[Fraction]]
    unit: Literal["mm", "voxels"] = "mm"
    patient: str | None = None
    group: str | None = None


Status = Literal["passed", "failed", "not run"]


class CheckResult(Part):
    """What a check for gradient masking found.

    Attributes:
        name: short, stable.
        title: what has to hold.
        status: ``"passed"``, ``"failed"`` or ``"not run"``.
        samples: how many it used; None where it was not run, and in results of older versions.
        numbers: what it was decided by; None for one that is not finite.
        summary: one sentence on them.
        interpretation: what a failure usually means.
    """

    name: str
    title: str
    status: Status
    samples: Count | None = None
    numbers: dict[str, Number]
    summary: str
    interpretation: str


def tally(checks: Iterable[CheckResult]) -> str:
    """How many checks passed, failed and were not run.

    Example:
        >>> check = CheckResult(name="a", title="", status="passed", numbers={}, summary="", interpretation="")
        >>> tally([check, check])
        '2 passed, 0 failed, 0 not run'
    """
    found = [check.status for check in checks]
    return ", ".join(f"{found.count(status)} {status}" for status in get_args(Status))


class VerificationRow(Part):
    """What independent code found, beside our attacks.

    Attributes:
        by: which code, such as ``"ART 1.20.1 AutoAttack"``.
        theirs: robust accuracy, or mean foreground Dice, under its attack: in [0, 1].
        ours: the same under our strongest attack.
        agrees: ours is not above theirs by more than one point (0.01): then our attack is too weak for this network.
            Theirs above ours by more than that only says that ours is the stronger one, and agrees.
    """

    by: str
    theirs: Fraction
    ours: Fraction
    agrees: bool

    @classmethod
    def compare(cls, by: str, theirs: float, ours: float) -> VerificationRow:
        """The row of two figures."""
        return cls(by=by, theirs=theirs, ours=ours, agrees=ours - theirs <= AGREEMENT + 1e-9)


def as_outputs(classes: int | Sequence[int | None]) -> Sequence[int | None]:
    """0 or 1 for each of several independent outputs; a class index is the only one."""
    return [classes] if isinstance(classes, int) else classes


def mean_of_known(values: Iterable[float | None]) -> float:
    """The mean of the values that are neither None nor NaN; NaN without any."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
