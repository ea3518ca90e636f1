"""The checks for gradient masking: what has to hold, what a failure means, and how many samples a check needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monai_ima.results.records import CheckResult

__all__ = ["CHECKS", "Check", "not_run", "result"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        title: what has to hold.
        interpretation: what a failure usually means.
        samples: correctly classified samples that it needs. Ten of those that compare accuracies or shares: a
            difference of one sample is taken for chance, and of fewer than ten that would be more than a tenth. One
            where a single sample shows what is looked for.
        scans: scans of a segmentation that it needs. Three of those that compare Dice or shares: of one or two a
            single scan that is easy or hard as a whole would decide.

    Example:
        >>> CHECKS["more_steps"].lacks(4, segments=False)
        'Needs 10 correctly classified samples, got 4: one is taken for chance, of fewer too large a share.'
        >>> CHECKS["more_steps"].lacks(10, segments=False) is None
        True
    """

    title: str
    interpretation: str
    samples: int = 10
    scans: int = 3

    def lacks(self, count: int, segments: bool) -> str | None:
        """Why ``count`` correct samples, or scans of a Dice above 0, are too few; None if they are enough."""
        if segments and count < self.scans:
            return (
                f"Needs {self.scans} scans that are not missed altogether, got {count}: of fewer a single scan, easy "
                "or hard as a whole, would decide."
            )
        if not segments and count < self.samples:
            return (
                f"Needs {self.samples} correctly classified samples, got {count}: one is taken for chance, of fewer "
                "too large a share."
            )
        return None


CHECKS: Mapping[str, Check] = {
    "logits": Check(
        "The network's outputs are logits",
        "The network ends in softmax or sigmoid: where it is sure, these have no gradient left, and a loss that takes "
        "the softmax again is blind. Evaluate it without its last layer.",
        samples=1,
        scans=1,
    ),
    "batch_independence": Check(
        "Predictions depend neither on the batch nor on the number of calls",
        "The network looks at the other samples of a batch, or changes from call to call: the image that an attack "
        "finds is predicted otherwise later, and no figure can be repeated.",
        samples=2,
        scans=2,
    ),
    "more_steps": Check(
        "More steps never help the defence",
        "The loss is so rough or so flat that steps lead nowhere, or the attack used has too few of them.",
    ),
    "more_restarts": Check(
        "More restarts never help the defence",
        "Where an attack starts decides whether it succeeds: the loss is rough, or the network random.",
    ),
    "large_eps": Check(
        "A large epsilon leaves nothing",
        "The attack fails where it cannot fail for want of noise: its gradients do not lead to misclassification.",
    ),
    "black_box": Check(
        "Attacks that see gradients are at least as strong as one that does not",
        "The gradients mislead: they are masked, and the attacks used are too weak for this network.",
    ),
    "transfer": Check(
        "Perturbations of another model are not stronger than those of this one",
        "The gradients of this network are masked; those of another network are not.",
    ),
    "uniform_noise": Check(
        "Uniform random noise is weaker than the attack",
        "The attack finds less than chance does: it does not work on this network.",
    ),
    "gradients": Check(
        "Gradients are finite and not zero",
        "The loss is saturated or its backward pass is cut (rounding, a step function): attacks have no direction.",
    ),
    "loss_surface": Check(
        "The loss rises fastest along its gradient",
        "The gradient does not show where the loss rises: it is shattered or approximated.",
    ),
    "randomness": Check(
        "Random parts are found and handled",
        "The network is random: attacks follow the gradient of a pass that is never repeated; use --eot 16.",
        samples=1,
        scans=1,
    ),
}
"""By name, in the order in which they are made."""


def not_run(name: str, summary: str) -> CheckResult:
    """The result of a check that was not made; ``summary`` says why."""
    check = CHECKS[name]
    return CheckResult(
        name=name, title=check.title, status="not run", numbers={}, summary=summary, interpretation=check.interpretation
    )


def result(name: str, passed: bool, samples: int, numbers: Mapping[str, float], summary: str) -> CheckResult:
    """The result of a check on that many samples."""
    check = CHECKS[name]
    return CheckResult(
        name=name,
        title=check.title,
        status="passed" if passed else "failed",
        samples=samples,
        numbers={key: float(value) for key, value in numbers.items()},
        summary=summary,
        interpretation=check.interpretation,
    )
