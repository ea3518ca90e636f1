from __future__ import annotations

import re
from collections.abc import Sequence

from monai_ima.criteria import Criterion

from .base import Attack
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD

__all__ = ["attack_from_name"]


def attack_from_name(
    name: str, norm: str, bounds: Sequence[float] | None = None, criterion: Criterion | None = None
) -> Attack:
    """An attack from its short name.

    Args:
        name: ``"pgd100x2"`` (100 steps, 2 restarts; ``"pgd100"`` for one), ``"fgsm"``, ``"ifgsm10"`` (10 steps) or
            ``"noise100"`` (100 draws of white noise).
        norm: ``"l2"`` or ``"linf"``.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: see :class:`Attack`.

    Raises:
        ValueError: when the name is none of these.
    """
    match = re.fullmatch(r"(pgd|ifgsm|noise)(\d+)(?:x(\d+))?", name)
    if name == "fgsm":
        return FGSM(norm, bounds, criterion)
    if match and match[1] == "pgd":
        return PGD(norm, int(match[2]), int(match[3] or 1), bounds=bounds, criterion=criterion)
    if match and not match[3] and match[1] == "ifgsm":
        return IFGSM(norm, int(match[2]), bounds, criterion)
    if match and not match[3]:
        return UniformNoise(norm, int(match[2]), bounds, criterion)
    raise ValueError(f"Unknown attack {name!r}, expected a name such as pgd100x2, fgsm, ifgsm10 or noise100.")
