"""What was attacked with, in sentences that begin in lower case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from monai_ima.report.wording import MINIMUM, attacked, level
from monai_ima.results.perturbed import PerturbationResult
from monai_ima.results.schema import Results
from monai_ima.utils.attack_names import CLASSIFIER_OBJECTIVES, SEGMENTATION_OBJECTIVES, AttackName

from .prose import changes, count, joined
from .references import cite

__all__ = ["attacks", "minimum", "perturbations"]

FAMILIES = {
    "pgd": ("projected gradient descent (PGD)", "madry2018"),
    "apgd": ("Auto-PGD", "croce2020"),
    "ifgsm": ("the iterative fast gradient sign method", "kurakin2017"),
    "fgsm": ("the fast gradient sign method", "goodfellow2015"),
    "ddn": ("decoupled direction and norm (DDN)", "rony2019"),
    "spsa": ("the gradient-free attack SPSA", "uesato2018"),
    "noise": ("uniform random noise", None),
}


def attack(name: str, segments: bool) -> str:
    """One attack by its short name; the name itself where it is not of the grammar."""
    try:
        parsed = AttackName.parse(name)
    except ValueError:
        return name
    words, key = FAMILIES[parsed.family]
    details = []
    if parsed.steps is not None:
        details.append(count(parsed.steps, "draw" if parsed.family == "noise" else "step"))
    if parsed.family == "spsa" and parsed.times is not None:
        details.append(f"{count(parsed.times, 'direction')} a step")
    elif parsed.family in ("pgd", "apgd"):
        details.append(count(parsed.times or 1, "restart"))
    text = words + (cite(key) if key else "") + (f" with {joined(details)}" if details else "")
    objectives = SEGMENTATION_OBJECTIVES if segments else CLASSIFIER_OBJECTIVES
    return text + (f" on {objectives[parsed.objective]}" if parsed.objective in objectives else "")


def attacks(one: Results) -> str | None:
    """The attacks on the noise of rising ε."""
    names = [curve.name for curve in one.attacks if curve.name != MINIMUM]
    if not names or not attacked(one):
        return None
    segments = one.metric == "dice"
    listed = joined([attack(name, segments) for name in names])
    if len(names) == 1:
        return f"the attack was {listed}; {_worst(segments)}."
    return f"the attacks were {listed}, one after the other; {_worst(segments)}."


def _worst(segments: bool) -> str:
    if segments:
        return "the lowest Dice found for a scan at an ε counts there and at every larger ε"
    return "a sample that was misclassified at an ε counts as wrong there and at every larger ε"


def minimum(one: Results) -> str | None:
    """The search for the smallest perturbation of each sample."""
    if one.minimum is None:
        return None
    from monai_ima.attacks import MinimumNorm

    search = MinimumNorm(one.norm)
    steps = count(search.steps, "step")
    first = f"DDN{cite('rony2019')} with {steps}, and then by " if one.norm == "l2" else ""
    return (
        "the smallest perturbation that changes each correct prediction was searched for up to "
        f"ε = {level(one.minimum.up_to)} by {first}PGD{cite('madry2018')} with {steps} in each of {search.rounds + 1} "
        "balls, whose radius was set half way between the last failure and the smallest success; points found were "
        "drawn back to the decision boundary by bisection, and count as an attack of their own."
    )


def perturbations(models: Sequence[Results]) -> Iterator[Callable[[Results], str | None]]:
    """What is to be said of changes with parameters: which, the worst case, the average case, TorchIO."""
    if any(one.perturbations for one in models):
        yield from (_which, _cases, _torchio)


def _which(one: Results) -> str | None:
    if not one.perturbations:
        return None
    names = joined([f"{found.title} ({_sizes(found)})" for found in one.perturbations])
    return f"{changes(one.metric)} were measured too: {names}."


def _sizes(found: PerturbationResult) -> str:
    return f"{joined([level(size) for size in found.levels if size > 0])} {found.unit}"


def _cases(one: Results) -> str | None:
    if not one.perturbations:
        return None
    first = one.perturbations[0]
    names = joined([attack(name, one.metric == "dice") for name in first.attacks])
    return (
        f"the worst case of a change is the lowest score found up to its size by {names}, in the parameters of the "
        f"change, and by {count(first.draws, 'random draw')} of these; the average case is the mean over the draws of "
        "exactly that size."
    )


def _torchio(one: Results) -> str | None:
    if all(found.torchio is None for found in one.perturbations):
        return None
    names = joined([found.title for found in one.perturbations if found.torchio is not None])
    return f"random transforms of TorchIO{cite('perezgarcia2021')} of matched size were measured for {names}."
