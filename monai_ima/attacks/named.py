from __future__ import annotations

from collections.abc import Sequence

from monai_ima.criteria import Criterion, SegmentationCriterion
from monai_ima.losses import SegmentationLoss
from monai_ima.perturbations.base import Perturbation
from monai_ima.utils.attack_names import AttackName
from monai_ima.utils.outputs import Output

from .apgd import APGD
from .base import Attack, AttackSettings
from .ddn import DDN
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD
from .spsa import SPSA
from .worst_of import WorstOf

__all__ = ["attack_from_name"]


def attack_from_name(
    name: str,
    norm: str,
    bounds: Sequence[float] | None = None,
    criterion: Criterion | None = None,
    channels: Sequence[int] | None = None,
    output: Output = None,
    perturbation: Perturbation | None = None,
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
        channels: of the image that noise may change; None means all.
        output: see :class:`Attack`.
        perturbation: see :class:`Attack`; ``norm`` then says nothing.

    Raises:
        ValueError: if the name is none of these or has one twice, or does not go with the norm or the criterion.

    Example:
        >>> attack = attack_from_name("apgd100x2-dlr", "linf", bounds=(0, 1))
        >>> attack.steps, attack.restarts, attack.objective
        (100, 2, 'dlr')
    """
    names = name.split("+") if isinstance(name, str) else []
    if len(names) > 1:
        _check_each_once(names)
        common = (norm, bounds, criterion, channels, output, perturbation)
        return WorstOf([attack_from_name(one, *common) for one in names])
    parsed = AttackName.parse(name)
    steps, times = parsed.steps or 1, parsed.times or 1
    settings = AttackSettings(
        bounds=bounds, criterion=criterion, channels=channels, output=output, perturbation=perturbation
    )
    match parsed.family:
        case "fgsm":
            return FGSM(norm, **settings)
        case "ifgsm":
            return IFGSM(norm, steps, **settings)
        case "noise":
            return UniformNoise(
                norm, steps, bounds, criterion, channels=channels, output=output, perturbation=perturbation
            )
        case "spsa":
            return SPSA(norm, steps, times, **settings)
        case "ddn" if norm == "l2" or perturbation is not None:
            return DDN(steps, **settings)
        case "ddn":
            raise ValueError(f"Got norm {norm!r} for the attack {name}, expected 'l2', the only one it knows.")
        case "pgd":
            settings["loss"] = _objective(parsed.objective, criterion)
            return PGD(norm, steps, times, **settings)
    if parsed.objective == "dice" or (parsed.objective == "ce" and isinstance(criterion, SegmentationCriterion)):
        settings["loss"] = _objective(parsed.objective, criterion)
        return APGD(norm, steps, times, None, **settings)
    return APGD(norm, steps, times, parsed.objective or "ce", **settings)


def _check_each_once(names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"Got the attack {twice[0]} twice in {'+'.join(names)!r}, expected each once.")


def _objective(name: str | None, criterion: Criterion | None) -> SegmentationLoss | None:
    if name is None:
        return None
    if not isinstance(criterion, SegmentationCriterion):
        raise ValueError(f"Got an attack on {name} alone, expected it for segmentations only (DiceCriterion).")
    dice = name == "dice"
    channels = criterion.include_background, criterion.sigmoid, criterion.ignore_index
    return SegmentationLoss(float(dice), float(not dice), *channels)
