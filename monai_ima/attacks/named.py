from __future__ import annotations

import re
from collections.abc import Sequence

from monai_ima.criteria import Criterion, SegmentationCriterion
from monai_ima.losses import SegmentationLoss

from .apgd import APGD
from .base import Attack
from .ddn import DDN
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD
from .spsa import SPSA
from .worst_of import WorstOf

__all__ = ["attack_from_name"]


def attack_from_name(
    name: str, norm: str, bounds: Sequence[float] | None = None, criterion: Criterion | None = None
) -> Attack:
    """An attack from its short name.

    Args:
        name: one of

            - ``"pgd100x2"`` (100 steps, 2 restarts; ``"pgd100"`` for one), ``"fgsm"``, ``"ifgsm10"`` (10 steps);
            - ``"apgd100x2-ce"`` or ``"apgd100x2"`` (Auto-PGD on the criterion's own loss), ``"apgd100x2-dlr"`` (on the
              difference of logits ratio);
            - ``"ddn100"`` (100 steps, L2 only);
            - ``"spsa100x128"`` (100 steps, 128 random directions each);
            - ``"noise100"`` (100 draws of uniform random noise).

            For segmentations ``"pgd100x2-dice"`` and ``"pgd100x2-ce"`` maximise soft Dice or cross-entropy alone, as do
            ``"apgd100x2-dice"`` and ``"apgd100x2-ce"``. Several names joined by ``+`` make a :class:`WorstOf`.
        norm: ``"l2"`` or ``"linf"``.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: see :class:`Attack`.

    Raises:
        ValueError: when the name is none of these, or does not go with the norm or the criterion.
    """
    names = name.split("+")
    if len(names) > 1:
        return WorstOf([attack_from_name(one, norm, bounds, criterion) for one in names])
    if name == "fgsm":
        return FGSM(norm, bounds, criterion)
    if match := re.fullmatch(r"(ifgsm|noise|ddn)(\d+)", name):
        return _counted(match[1], int(match[2]), norm, bounds, criterion)
    if match := re.fullmatch(r"spsa(\d+)x(\d+)", name):
        return SPSA(norm, int(match[1]), int(match[2]), bounds=bounds, criterion=criterion)
    if match := re.fullmatch(r"pgd(\d+)(?:x(\d+))?(?:-(dice|ce))?", name):
        loss = _part(match[3], criterion) if match[3] else None
        return PGD(norm, int(match[1]), int(match[2] or 1), bounds=bounds, criterion=criterion, loss=loss)
    if match := re.fullmatch(r"apgd(\d+)(?:x(\d+))?(?:-(dice|ce|dlr))?", name):
        return _auto(int(match[1]), int(match[2] or 1), match[3], norm, bounds, criterion)
    raise ValueError(
        f"Unknown attack {name!r}, expected a name such as pgd100x2, apgd100x2-dlr, fgsm, ifgsm10, ddn100, spsa100x128 "
        "or noise100."
    )


def _counted(
    kind: str, count: int, norm: str, bounds: Sequence[float] | None, criterion: Criterion | None
) -> IFGSM | UniformNoise | DDN:
    if kind == "ifgsm":
        return IFGSM(norm, count, bounds, criterion)
    if kind == "noise":
        return UniformNoise(norm, count, bounds, criterion)
    if norm != "l2":
        raise ValueError(f"Got norm {norm!r} for the attack {kind}{count}, expected 'l2', the only one it knows.")
    return DDN(count, bounds=bounds, criterion=criterion)


def _auto(
    steps: int, restarts: int, part: str | None, norm: str, bounds: Sequence[float] | None, criterion: Criterion | None
) -> APGD:
    if part == "dice" or (part == "ce" and isinstance(criterion, SegmentationCriterion)):
        loss = _part(part, criterion)
        return APGD(norm, steps, restarts, None, bounds=bounds, criterion=criterion, loss=loss)
    return APGD(norm, steps, restarts, part or "ce", bounds=bounds, criterion=criterion)


def _part(part: str, criterion: Criterion | None) -> SegmentationLoss:
    if not isinstance(criterion, SegmentationCriterion):
        raise ValueError(f"Got an attack on {part} alone, expected it for segmentations only (DiceCriterion).")
    dice = part == "dice"
    return SegmentationLoss(float(dice), float(not dice), criterion.include_background, criterion.sigmoid)
