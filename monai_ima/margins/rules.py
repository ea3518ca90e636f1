"""Algorithm 2: how an epoch's attacks move the margins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from monai_ima.attacks import AttackResult
from monai_ima.utils.distributed import gather_all

__all__ = ["AttackOutcome", "OutcomeLog", "RadiusAccumulator", "Rule", "coarse_delta", "epoch_rule", "online_rule"]

FEWEST_STEPS = 3
"""From δ to ε_max in fewer steps margins hardly tell samples apart."""


@dataclass
class AttackOutcome:
    """What the attacks of one epoch saw of one sample, over all its occurrences (crops).

    Attributes:
        distances: the distances ‖x - x_n‖ at which it crossed (case 1).
        survived: it stayed correct inside its ball at least once (case 0).

    Example:
        >>> epoch_rule(1.0, AttackOutcome(distances=[0.4, 0.3]), delta=0.1)
        0.3
    """

    distances: list[float] = field(default_factory=list)
    survived: bool = False


Rule = Callable[[float, AttackOutcome, float], float]
"""``(ε, seen, δ) -> new ε``, before clipping to [δ, ε_max]."""


def epoch_rule(eps: float, seen: AttackOutcome, delta: float) -> float:
    """Lines 3-11 of Algorithm 2: misclassified δ, case 1 ε = ‖x - x_n‖ (the smallest), case 0 ε + δ."""
    if seen.distances:
        return min(seen.distances)
    return eps + delta if seen.survived else delta


def online_rule(eps: float, seen: AttackOutcome, delta: float) -> float:
    """From training attacks: case 1 (ε + ‖x - x_n‖) / 2 (the mean), case 0 ε + δ, misclassified unchanged."""
    if seen.distances:
        return (eps + math.fsum(seen.distances) / len(seen.distances)) / 2
    return eps + delta if seen.survived else eps


def coarse_delta(eps_max: float, delta: float) -> str | None:
    """What is wrong with an expansion step of ε_max / 3 or more; None for a smaller one.

    Args:
        eps_max: ε_max, > 0.
        delta: δ, > 0, first margin and expansion step.

    Example:
        >>> coarse_delta(eps_max=0.3, delta=0.15).split(":")[0]
        'delta 0.15 is not small beside eps_max 0.3'
        >>> coarse_delta(eps_max=0.3, delta=0.03) is None
        True
    """
    steps = eps_max / delta
    if steps > FEWEST_STEPS * (1 + 1e-9):
        return None
    passes = max(0, math.ceil(steps * (1 - 1e-9)) - 1)
    reached = f"after {passes} pass(es)" if passes else "from the start"
    return (
        f"delta {delta:g} is not small beside eps_max {eps_max:g}: the ball reaches eps_max {reached}, so margins "
        f"cannot tell samples apart; expected a delta below eps_max / {FEWEST_STEPS}, such as {eps_max / 10:g} (more "
        "epochs, a smaller update_interval, or delta)."
    )


class OutcomeLog:
    """Collects :class:`AttackOutcome` by sample id during an epoch.

    Example:
        >>> log = OutcomeLog()
        >>> log.record(["a"])  # misclassified
        >>> log.merged()
        {'a': AttackOutcome(distances=[], survived=False)}
    """

    def __init__(self) -> None:
        self._seen: dict[str, AttackOutcome] = {}

    def record(self, sample_ids: Sequence[str], result: AttackResult | None = None) -> None:
        """Lines 2, 5-7 and 9 of Algorithm 2: note which case these samples are; without a result: misclassified.

        A sample without a score (a crop that holds no foreground) says nothing about its scan and is left out.

        Args:
            sample_ids: one for each of the batch's samples.
            result: of the attack on the same samples.
        """
        if result is None:
            for sample_id in sample_ids:
                self._seen.setdefault(sample_id, AttackOutcome())
            return
        survived = result.clean_correct & ~result.success
        columns = zip(
            sample_ids,
            result.clean_score.isnan().tolist(),
            result.success.tolist(),
            survived.tolist(),
            result.distance.double().tolist(),
            strict=True,
        )
        for sample_id, unscored, crossed, stood, distance in columns:
            if unscored:
                continue
            seen = self._seen.setdefault(sample_id, AttackOutcome())
            if crossed:
                seen.distances.append(distance)
            seen.survived |= stood

    def merged(self) -> dict[str, AttackOutcome]:
        """The observations of all processes, the same on each of them."""
        merged: dict[str, AttackOutcome] = {}
        for part in gather_all(self._seen):
            for sample_id, seen in part.items():
                total = merged.setdefault(sample_id, AttackOutcome())
                total.distances.extend(seen.distances)
                total.survived |= seen.survived
        return merged


class RadiusAccumulator:
    """Collects the radii that an epoch's batches found for their samples, by sample id.

    Example:
        >>> radii = RadiusAccumulator()
        >>> radii.record(["a", "b"], torch.tensor([0.25, 1.0]))
        >>> radii.record(["a"], torch.tensor([0.75]))
        >>> radii.merged()
        {'a': 0.5, 'b': 1.0}
    """

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def record(self, sample_ids: Sequence[str], eps: torch.Tensor) -> None:
        """Note one radius for each of these samples: float ``[B]``."""
        for sample_id, value in zip(sample_ids, eps.double().tolist(), strict=True):
            self._found.setdefault(sample_id, []).append(value)

    def merged(self) -> dict[str, float]:
        """Each sample's mean over its occurrences in all processes, the same on each of them."""
        merged: dict[str, list[float]] = {}
        for part in gather_all(self._found):
            for sample_id, values in part.items():
                merged.setdefault(sample_id, []).extend(values)
        return {sample_id: math.fsum(values) / len(values) for sample_id, values in merged.items()}
