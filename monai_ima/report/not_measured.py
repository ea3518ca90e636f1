"""What a report cannot say, in one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from monai_ima.results.schema import ClassificationResults, Results

__all__ = ["missing_options", "not_measured"]

OPTIONS: dict[str, tuple[Callable[[Results], bool], str, str]] = {
    "checks": (
        lambda one: not one.checks,
        "Checks for gradient masking",
        "A network can look robust because the attack fails, not because it is robust; they look for signs of that.",
    ),
    "crosscheck": (
        lambda one: one.crosscheck is None,
        "Verification with independent code",
        "Attacks of other libraries would show that the one used here misses perturbations.",
    ),
    "minimum": (
        lambda one: isinstance(one, ClassificationResults) and one.minimum is None,
        "The smallest perturbation that breaks each sample",
        "Only the first measured ε that breaks it is known.",
    ),
}
"""Options of an evaluation: whether results lack it, what it measures, why that matters."""


def not_measured(models: Sequence[Results], margins: bool, logs: bool) -> Iterator[tuple[str, str]]:
    """What was not measured, and for which models; how to measure it.

    Args:
        models: with different labels.
        margins: the report has the margins of IMA training.
        logs: the report has curves of training.
    """
    for option, (lacks, what, why) in OPTIONS.items():
        labels = [one.label for one in models if lacks(one)]
        if labels:
            yield _of(what, labels, models), f"{why} Option --{option} of evaluate."
    for what, labels, says in _absent(models):
        if labels:
            yield _of(what, labels, models), says
    for one in models:
        for check in one.checks or ():
            if check.status == "not run":
                yield _of(f"Check “{check.title}”", [one.label], models), check.summary
    if not margins:
        yield "Margins of the training samples", "Option --checkpoint of the report, for networks trained by IMA."
    if not logs:
        yield "Curves of training", "Option --logs of the report."


def _absent(models: Sequence[Results]) -> Iterator[tuple[str, list[str], str]]:
    segment = [one.label for one in models if not isinstance(one, ClassificationResults)]
    yield "The smallest perturbation that breaks each scan", segment, "It is defined for classifiers only."
    noise = [one.label for one in models if one.noise is None]
    yield "Uniform random noise beside the attack", noise, "It is drawn for classifiers only."
    scanner = [one.label for one in models if not one.perturbations]
    yield (
        "Changes that scanners make",
        scanner,
        "Motion, bias fields and more. Option --perturbation of evaluate.",
    )
    groups = [one.label for one in models if one.groups is None]
    yield "Subgroups", groups, "Scanner, site, sex or age. Options --groups and --group_by of evaluate."
    patients = [one.label for one in models if one.data.patients is None]
    yield "Patients", patients, "The data do not say whom samples are of: intervals count each as a patient of its own."
    units = [one.label for one in models if one.units is None and one.bounds is None]
    yield "Sizes of ε in the data's own units", units, "Neither units nor bounds of the intensities are known."
    classes = [one.label for one in models if not one.by_class]
    yield "Classes", classes, "The results name none."
    cases = [one.label for one in models if not one.cases]
    yield "Worst cases", cases, "The results hold no pictures."
    yield (
        "Other scanners, sites and trainings",
        [one.label for one in models],
        ("Intervals say how far other samples of the same kind may differ, not more."),
    )


def missing_options(results: Results) -> list[str]:
    """Options that would measure what results lack."""
    return [option for option, (lacks, *_) in OPTIONS.items() if lacks(results)]


def _of(what: str, labels: Sequence[str], models: Sequence[Results]) -> str:
    return what if len(labels) == len(models) else f"{what} of {' and '.join(labels)}"
