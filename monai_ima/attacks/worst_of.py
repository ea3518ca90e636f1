from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monai_ima.perturbations.norms import Generators
from monai_ima.utils.checks import shown

from .base import Attack, AttackResult
from .execution import Execution
from .target import MostAdversarial, Target

__all__ = ["WorstOf"]


class WorstOf(Attack):
    """Several attacks one after the other; of each sample the worst image that any of them found counts.

    A sample that one attack has broken is not attacked by the next ones.

    Args:
        attacks: at least one, all of the same norm, perturbation, bounds, channels, output, kind of criterion, and
            options of speed; the criterion used is the first one's.

    Raises:
        TypeError: when they are no list of attacks.
        ValueError: when there is none, or they differ in one of these.

    Example:
        >>> from monai_ima.attacks import PGD
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = WorstOf([PGD("l2", 5), PGD("l2", 5, alpha=1.0)])(network, image, label, eps=1.0)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
    """

    def __init__(self, attacks: Sequence[Attack]) -> None:
        if not isinstance(attacks, Sequence) or not all(isinstance(attack, Attack) for attack in attacks):
            raise TypeError(f"Got attacks {shown(attacks)}, expected a list of attacks.")
        if not attacks:
            raise ValueError("Got no attacks, expected at least one.")
        first = attacks[0]
        for other in attacks[1:]:
            for what in ("norm", "perturbation", "bounds", "channels", "output", "criterion", "execution"):
                one, two = _comparable(getattr(first, what)), _comparable(getattr(other, what))
                if one != two:
                    raise ValueError(f"Got attacks of different {what} ({one} and {two}), expected the same for all.")
        names = ("bounds", "criterion", "generator", "channels", "output", "perturbation")
        super().__init__(first.norm, **{name: getattr(first, name) for name in names}, **vars(first.execution))
        self.attacks = list(attacks)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        worst = MostAdversarial(target)
        rounds = worst.rounds(len(self.attacks), generator)
        for attack, (rows, active, generators) in zip(self.attacks, rounds, strict=False):
            found = attack.run(replace(active, attack_loss=attack.loss), generators)
            prediction = active.predict(found.image)
            worst.update(rows, found.image, replace(prediction, correct=~found.success))
        return self.result(target, worst.image, worst.broken)


def _comparable(value: object) -> object:
    return value if isinstance(value, tuple | int | str | Execution | None) else type(value).__name__
