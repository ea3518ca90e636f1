"""Short names of attacks, such as ``pgd100x2-dice``: one grammar for building attacks and for describing them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .checks import shown
from .plain_numbers import counted

__all__ = ["STRONGEST_CLASSIFICATION", "STRONGEST_SEGMENTATION", "AttackName", "passes", "strongest"]

STRONGEST_CLASSIFICATION = "pgd100x2"
"""What classifiers are evaluated under, where nothing else is asked for."""
STRONGEST_SEGMENTATION = "pgd100x2+pgd100x2-dice+pgd100x2-ce"
"""What segmentations are evaluated under: on soft Dice and cross-entropy together, and on each alone."""

GRAMMAR = (
    r"(?P<family>fgsm)",
    r"(?P<family>ifgsm|noise|ddn)(?P<steps>[1-9]\d*)",
    r"(?P<family>spsa)(?P<steps>[1-9]\d*)x(?P<times>[1-9]\d*)",
    r"(?P<family>pgd)(?P<steps>[1-9]\d*)(x(?P<times>[1-9]\d*))?(-(?P<objective>dice|ce))?",
    r"(?P<family>apgd)(?P<steps>[1-9]\d*)(x(?P<times>[1-9]\d*))?(-(?P<objective>dice|ce|dlr))?",
)
FAMILIES = {
    "pgd": "projected gradient descent",
    "apgd": "Auto-PGD",
    "ifgsm": "iterative fast gradient sign method",
    "fgsm": "fast gradient sign method",
    "ddn": "decoupled direction and norm",
    "spsa": "SPSA, without gradients",
    "noise": "uniform random noise",
}
CLASSIFIER_OBJECTIVES = {"dlr": "difference of logits ratio", "ce": "the soft logit margin"}
SEGMENTATION_OBJECTIVES = {"ce": "cross-entropy", "dice": "soft Dice"}


@dataclass(frozen=True)
class AttackName:
    """One attack's name, taken apart.

    Attributes:
        family: such as ``"pgd"``.
        steps: number of steps, of ``noise`` of draws; None where the name has none.
        times: number of restarts, of ``spsa`` of directions a step; None where the name has none.
        objective: ``"ce"``, ``"dlr"`` or ``"dice"``; None for the criterion's own.

    Example:
        >>> AttackName.parse("pgd100x2-dice")
        AttackName(family='pgd', steps=100, times=2, objective='dice')
        >>> AttackName.parse("noise20").describe()
        'uniform random noise, 20 draws'
    """

    family: str
    steps: int | None = None
    times: int | None = None
    objective: str | None = None

    @classmethod
    def parse(cls, name: str) -> AttackName:
        """Take a name apart.

        Raises:
            ValueError: if it is not of the grammar.
        """
        for pattern in GRAMMAR if isinstance(name, str) else ():
            if match := re.fullmatch(pattern, name):
                parts = match.groupdict()
                steps, times = (int(parts[key]) if parts.get(key) else None for key in ("steps", "times"))
                return cls(parts["family"], steps, times, parts.get("objective"))
        raise ValueError(
            f"Unknown attack {shown(name)}, expected a name such as pgd100x2, apgd100x2-dlr, fgsm, ifgsm10, ddn100, "
            "spsa100x128 or noise100."
        )

    @property
    def passes(self) -> int:
        """How often the network sees a sample at most, at one ε; with a gradient each but for spsa and noise."""
        return (self.steps or 1) * (self.times or 1) * (2 if self.family == "spsa" else 1)

    def describe(self, segmentation: bool = False) -> str:
        """The attack in words.

        Raises:
            ValueError: if the task does not have the objective.
        """
        text = FAMILIES[self.family]
        if self.steps is not None:
            text += f", {counted(self.steps, 'draw' if self.family == 'noise' else 'step')}"
        if self.times is not None:
            times = counted(self.times, "direction" if self.family == "spsa" else "restart")
            text += f", {times}{' a step' * (self.family == 'spsa')}"
        if self.objective is None:
            return text
        objectives = SEGMENTATION_OBJECTIVES if segmentation else CLASSIFIER_OBJECTIVES
        if self.objective not in objectives:
            raise ValueError(f"Got objective {self.objective!r}, expected one of {', '.join(objectives)}.")
        return f"{text}, on {objectives[self.objective]}"


def strongest(segmentation: bool) -> str:
    """What is evaluated under where nothing else is asked for.

    Example:
        >>> strongest(segmentation=False)
        'pgd100x2'
    """
    return STRONGEST_SEGMENTATION if segmentation else STRONGEST_CLASSIFICATION


def passes(names: str) -> int:
    """How often the network sees a sample at most, at one ε, under attacks whose names are joined by ``+``.

    Raises:
        ValueError: if a name is not of the grammar.

    Example:
        >>> passes("pgd100x2+noise20")
        220
    """
    return sum(AttackName.parse(name).passes for name in names.split("+"))
