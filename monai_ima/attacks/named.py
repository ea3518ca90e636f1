from __future__ import annotations

import re
from collections.abc import Sequence

from monai_ima.criteria import Criterion, SegmentationCriterion, SegmentationLoss

from .base import Attack
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD
from .worst_of import WorstOf

__all__ = ["attack_from_name"]


def attack_from_name(
    name: str, norm: str, bounds: Sequence[float] | None = None, criterion: Criterion | None = None
) -> Attack:
    """An attack from its short name.

    Args:
        name: ``"pgd100x2"`` (100 steps, 2 restarts; ``"pgd100"`` for one), ``"fgsm"``, ``"ifgsm10"`` (10 steps) or
            ``"noise100"`` (100 draws of white noise). For segmentations ``"pgd100x2-dice"`` and ``"pgd100x2-ce"``
            climb soft Dice or cross-entropy alone. Several names joined by ``+`` make a :class:`WorstOf`.
        norm: ``"l2"`` or ``"linf"``.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: see :class:`Attack`.

    Raises:
        ValueError: when the name is none of these.
    """
    names = name.split("+")
    if len(names) > 1:
        return WorstOf([attack_from_name(one, norm, bounds, criterion) for one in names])
    match = re.fullmatch(r"(pgd|ifgsm|noise)(\d+)(?:x(\d+))?(?:-(dice|ce))?", name)
    if name == "fgsm":
        return FGSM(norm, bounds, criterion)
    if match and match[1] == "pgd":
        loss = _part(match[4], criterion) if match[4] else None
        return PGD(norm, int(match[2]), int(match[3] or 1), bounds=bounds, criterion=criterion, loss=loss)
    if match and not match[3] and not match[4]:
        if match[1] == "ifgsm":
            return IFGSM(norm, int(match[2]), bounds, criterion)
        return UniformNoise(norm, int(match[2]), bounds, criterion)
    raise ValueError(f"Unknown attack {name!r}, expected a name such as pgd100x2, fgsm, ifgsm10 or noise100.")


def _part(part: str, criterion: Criterion | None) -> SegmentationLoss:
    if not isinstance(criterion, SegmentationCriterion):
        raise ValueError(f"Got an attack on {part} alone, expected it for segmentations only (DiceCriterion).")
    dice = part == "dice"
    return SegmentationLoss(float(dice), float(not dice), criterion.include_background, criterion.sigmoid)
