from __future__ import annotations

import inspect
import re
from typing import Any

from monai_ima.utils.checks import shown

from .base import Perturbation
from .blur import Blur
from .chain import Chain as Compose
from .frequency import Frequency
from .geometry import Elastic, Rotation, Translation
from .intensity import BaselineWander, BiasField, Gain, GammaContrast, IntensityShift
from .kspace import Ghosting, Gibbs, Motion, MotionRotation, Spike
from .noise_level import CTDose, NoiseLevel, RicianNoise, Speckle
from .signals import Powerline

__all__ = ["PERTURBATIONS", "perturbation_from_name"]

PERTURBATIONS: dict[str, type[Perturbation]] = {
    kind.name: kind
    for kind in (
        BiasField,
        GammaContrast,
        IntensityShift,
        NoiseLevel,
        RicianNoise,
        Speckle,
        CTDose,
        Blur,
        Motion,
        MotionRotation,
        Ghosting,
        Spike,
        Gibbs,
        Frequency,
        Rotation,
        Translation,
        Elastic,
        Gain,
        BaselineWander,
        Powerline,
    )
}
"""Those that have a name on the command line, :data:`~monai_ima.utils.perturbation_names.PERTURBATION_NAMES`."""
LINK = re.compile(r"(?P<name>[a-z_]+)(\((?P<settings>[^()]*)\))?(:(?P<radius>[^:]+))?")
SETTING = re.compile(r"\s*(?P<key>[a-z_]+)\s*=\s*(?P<value>[^=\s]+)\s*")


def perturbation_from_name(text: str) -> Perturbation:
    """A perturbation from its name on the command line.

    Args:
        text: such as ``"bias_field"``, with settings ``"bias_field(points=6)"`` or ``"motion(spacing=1)"``, or a chain
            with the radius of each link, ``"bias_field:30+noise:5+gamma:30"`` (:class:`Compose`); one value an axis as
            ``"motion(spacing=1x1x3)"``.

    Raises:
        ValueError: if a name or a setting is unknown, or a link of a chain has no radius.

    Example:
        >>> perturbation_from_name("bias_field(points=6)").points
        6
        >>> perturbation_from_name("bias_field:30+noise:5").describe(1.0)
        'bias field 30 %, noise level 5 %'
    """
    links = [_link(part, text) for part in (text.split("+") if isinstance(text, str) else [text])]
    if len(links) == 1 and links[0][1] is None:
        return links[0][0]
    radii = [radius for _, radius in links if radius is not None]
    if len(radii) != len(links):
        raise ValueError(f"Got the chain {text!r}, expected a radius for each link, such as bias_field:30+noise:5.")
    return Compose([part for part, _ in links], radii)


def _link(part: Any, text: Any) -> tuple[Perturbation, float | None]:
    if isinstance(part, str) and "@" in part:
        raise ValueError(
            f"Got {part!r}, expected a name without sizes: only evaluate --perturbation takes some, behind @."
        )
    match = LINK.fullmatch(part.strip()) if isinstance(part, str) else None
    if match is None or match["name"] not in PERTURBATIONS:
        raise ValueError(
            f"Got perturbation {shown(part if match is None else match['name'])}, expected one of "
            f"{', '.join(PERTURBATIONS)}, or a chain such as bias_field:30+noise:5."
        )
    settings: dict[str, Any] = {}
    for setting in (match["settings"] or "").split(",") if match["settings"] else ():
        found = SETTING.fullmatch(setting)
        if found is None:
            raise ValueError(f"Got setting {setting!r} in {text!r}, expected name=value.")
        settings[found["key"]] = _value(found["value"])
    kind = PERTURBATIONS[match["name"]]
    known = list(inspect.signature(kind).parameters)
    for name in settings:
        if name not in known:
            raise ValueError(f"Got setting {name!r} of {match['name']}, expected one of {', '.join(known)}.")
    perturbation = kind(**settings)
    if match["radius"] is None:
        return perturbation, None
    radius = _value(match["radius"])
    if not isinstance(radius, int | float):
        raise ValueError(f"Got radius {match['radius']!r} in {text!r}, expected a number > 0.")
    return perturbation, radius


def _value(text: str) -> Any:
    """A number, several joined by ``x``, or a word."""
    numbers = [_number(part) for part in text.split("x")]
    if any(number is None for number in numbers):
        return text
    return tuple(numbers) if len(numbers) > 1 else numbers[0]


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return None
