"""The perturbations that an evaluation is asked for, each with the sizes at which it is measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from monai_ima.utils.checks import check_positive, check_text

if TYPE_CHECKING:
    from monai_ima.perturbations import Perturbation

__all__ = ["ListedPerturbation", "perturbation_list"]

COMMA = re.compile(r",(?![^()]*\))")
"""One that is not inside parentheses."""


@dataclass(frozen=True)
class ListedPerturbation:
    """A perturbation and the sizes at which it is measured.

    Attributes:
        name: as it was given, such as ``"bias_field(points=6)"``.
        perturbation: the forward model.
        levels: sizes in its unit, rising, the first is 0.
    """

    name: str
    perturbation: Perturbation
    levels: tuple[float, ...]

    @property
    def title(self) -> str:
        """In words, with its settings, or the links of a chain with their radii."""
        from monai_ima.perturbations import Compose

        if isinstance(self.perturbation, Compose):
            return self.perturbation.describe(1.0)
        _, _, settings = self.name.partition("(")
        return self.perturbation.title + (f" ({settings}" if settings.strip(") ") else "")


def perturbation_list(text: str) -> tuple[ListedPerturbation, ...]:
    """The perturbations of a comma-separated list.

    Args:
        text: names as :func:`~monai_ima.perturbations.perturbation_from_name` takes them, each with its own levels
            behind an ``@`` or with those of the perturbation: ``"bias_field@10:20:40,noise,motion(spacing=1)@1:2"``.

    Raises:
        ValueError: if a name or a setting is unknown, one comes twice, or levels are no rising numbers > 0.

    Example:
        >>> [(one.name, one.levels) for one in perturbation_list("bias_field(points=6)@5:10,noise")]
        [('bias_field(points=6)', (0.0, 5.0, 10.0)), ('noise', (0.0, 2.0, 5.0, 10.0))]
    """
    from monai_ima.perturbations import perturbation_from_name

    parts = [part.strip() for part in COMMA.split(check_text("perturbation", text))]
    for part in parts:
        if re.fullmatch(r"[\d.]+", part):
            raise ValueError(
                f"Got {part!r} in {text!r}, expected a name: sizes are separated by colons, as in @10:20:40."
            )
    found = [_listed(part, perturbation_from_name) for part in parts]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Got the perturbation {name} twice in {text!r}, expected each once.")
    return tuple(found)


def _listed(text: str, from_name: Callable[[str], Perturbation]) -> ListedPerturbation:
    name, at, levels = (part.strip() for part in text.partition("@"))
    perturbation = from_name(name)
    sizes = _levels(levels, text) if at else perturbation.levels
    if sizes[-1] > perturbation.largest:
        raise ValueError(
            f"Got size {sizes[-1]:g} in {text!r}, expected at most {perturbation.largest:g} {perturbation.unit}."
        )
    return ListedPerturbation(name, perturbation, (0.0, *sizes))


def _levels(text: str, whole: str) -> Sequence[float]:
    try:
        levels = [check_positive("level", float(level)) for level in text.split(":")]
    except ValueError:
        levels = []
    if not levels or any(b <= a for a, b in pairwise(levels)):
        raise ValueError(f"Got levels {text!r} in {whole!r}, expected rising numbers > 0, such as 10:20:40.")
    return levels
