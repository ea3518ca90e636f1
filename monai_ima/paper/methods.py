"""The paragraph of a paper that says how robustness was measured: only what was run, as results.json has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from monai_ima.report.wording import NORMS, attacked, capitalised, level
from monai_ima.results.paired import PairedDifference
from monai_ima.results.schema import ClassificationResults, Results
from monai_ima.results.statistics import FEWEST

from .attack_prose import attacks, minimum, perturbations
from .known import data_set, training
from .prose import count, joined, samples
from .references import cite

__all__ = ["methods"]

Say = Callable[[Results], str | None]
"""What is said of a model, as a sentence that begins in lower case; None where there is nothing to say."""


def methods(
    models: Sequence[Results],
    differences: Sequence[Sequence[PairedDifference]] = (),
    trainings: Sequence[str] | None = None,
) -> str:
    """The paragraph, as plain text with marks of :func:`~monai_ima.paper.references.cite`.

    Args:
        models: with a label each.
        differences: of every model but the first from the first; empty where they were not compared.
        trainings: how each model was trained, names of :data:`~monai_ima.paper.known.TRAININGS`; None: not said.

    Raises:
        ValueError: if there is not one of ``trainings`` for each model, or one is unknown.
    """
    sentences = [
        _networks(models),
        *_trained(models, trainings),
        *_each(models, _data),
        *_each(models, _metric),
        *_each(models, _budget),
        *_each(models, attacks),
        *_each(models, minimum),
        *_each(models, _noise),
        *_each(models, _randomised),
        *(sentence for say in perturbations(models) for sentence in _each(models, say)),
        *_each(models, _groups),
        *_each(models, _checks),
        *_each(models, _verification),
        *_each(models, _intervals),
        *_paired(models, differences),
        *_each(models, _software),
        *_each(models, _seed),
    ]
    return " ".join(sentences)


def _each(models: Sequence[Results], say: Say) -> Iterator[str]:
    """One sentence where the same is to be said of all models, else one for all those it is said of."""
    found: dict[str, list[str]] = {}
    for model in models:
        sentence = say(model)
        if sentence is not None:
            found.setdefault(sentence, []).append(model.label)
    for sentence, labels in found.items():
        yield capitalised(sentence) if len(labels) == len(models) else f"For {joined(labels)}, {sentence}"


def _networks(models: Sequence[Results]) -> str:
    names = [f"{one.label} ({one.model.network}, {count(one.model.parameters, 'parameter')})" for one in models]
    return f"The {'network' if len(models) == 1 else 'networks'} {joined(names)} {_was(models)} evaluated."


def _was(things: Sequence[object]) -> str:
    return "was" if len(things) == 1 else "were"


def _trained(models: Sequence[Results], trainings: Sequence[str] | None) -> Iterator[str]:
    if trainings is None:
        return
    if len(trainings) != len(models):
        raise ValueError(f"Got {len(trainings)} trainings for {len(models)} results, expected one for each.")
    for one, name in zip(models, trainings, strict=True):
        yield f"The network {one.label} was trained {training(name)}."


def _data(one: Results) -> str:
    name = data_set(one.data, len(one.classes))
    of = f", drawn by a program ({name})" if one.data.synthetic else f" of {name}"
    validated = ", those that the training validates on" if one.data.validation else ""
    return f"the data were {samples(one.data)}{of}{validated}."


def _metric(one: Results) -> str:
    if not isinstance(one, ClassificationResults):
        return "the score of a scan is its Dice coefficient, averaged over the foreground classes."
    if one.multi_label:
        return "a sample counts as correct if each of its labels is predicted correctly (exact match)."
    return "accuracy is the share of samples whose class is predicted correctly."


def _budget(one: Results) -> str:
    if not attacked(one):
        return _unattacked(one)
    above = [value for value in one.levels if value > 0]
    sizes = joined([level(value) for value in above])
    thing = "image" if one.metric == "dice" else "input"
    ball = f"a ball of radius ε around the clean {thing} in the {NORMS[one.norm]} norm"
    size = one.pixel_size.text(above[-1])
    which = "which" if len(above) == 1 else "the largest of which"
    unit = f"{which} is {size}" if size else "in the units of the network’s input"
    return f"{thing}s were perturbed within {ball}, at ε = {sizes}, {unit}{_bounds(one)}."


def _unattacked(one: Results) -> str:
    if one.perturbations:
        return "no attack added noise."
    things = "scans" if one.metric == "dice" else "samples"
    return f"nothing was attacked: scores are those of the {things} as they are."


def _bounds(one: Results) -> str:
    match one.bounds:
        case (float(low), float(high)):
            where = f"between {level(low)} and {level(high)}"
        case (float(low), None):
            where = f"at or above {level(low)}"
        case (None, float(high)):
            where = f"at or below {level(high)}"
        case _:
            return ""
    return f"; {'intensities' if one.metric == 'dice' else 'values'} stayed {where}"


def _noise(one: Results) -> str | None:
    if one.noise is None or len(one.levels) < 2:
        return None
    return f"uniform random noise was drawn {count(one.noise.draws, 'time')} for each sample and ε for comparison."


def _randomised(one: Results) -> str | None:
    passes = one.settings.get("eot")
    if not isinstance(passes, int) or passes < 2:
        return None
    return f"logits were averaged over {passes} passes (expectation over transformation){cite('athalye2018eot')}."


def _groups(one: Results) -> str | None:
    if one.groups is None:
        return None
    sizes = joined([f"{name} ({count(size, 'sample')})" for name, size in one.groups.samples.items()])
    return f"scores were also taken by {one.groups.column}: {sizes}."


def _checks(one: Results) -> str | None:
    run = [check for check in one.checks or () if check.status != "not run"]
    if not run:
        return None
    failed = [check.title[0].lower() + check.title[1:] for check in run if check.status == "failed"]
    passed = "all of which passed" if len(run) > 1 else "which passed"
    outcome = f"{len(failed)} of which failed ({'; '.join(failed)})" if failed else passed
    looked = f"gradient masking was looked for with {count(len(run), 'check')}{cite('athalye2018', 'carlini2019')}"
    return f"{looked}, {outcome}."


TOOLS = {"AutoAttack": "croce2020", "AutoPGD": "croce2020", "ART": "nicolae2018", "foolbox": "rauber2020"}


def _verification(one: Results) -> str | None:
    if one.crosscheck is None or not one.crosscheck.rows:
        return None
    names = []
    for row in one.crosscheck.rows:
        keys = dict.fromkeys(key for tool, key in TOOLS.items() if tool in row.by)
        names.append(row.by + (cite(*keys) if keys else ""))
    lower = "a score lower by more than one point than ours"
    differing = joined([row.by for row in one.crosscheck.rows if not row.agrees] or ["none"])
    where = f"{count(one.crosscheck.samples, 'sample')} at ε = {level(one.crosscheck.epsilon)}"
    return f"independent code attacked {where} too, {joined(names)}: {differing} found {lower}."


def _intervals(one: Results) -> str | None:
    ends = [ends for attack in one.attacks for ends in attack.intervals]
    ends += [ends for found in one.perturbations for case in (found.worst, found.average) for ends in case.intervals]
    if not any(ends):
        return f"no intervals are given, as there are fewer than {FEWEST} patients or samples."
    wilson, drawn = (
        f"Wilson’s score intervals{cite('wilson1927')}",
        "" if one.data.patients is None else " of whole patients",
    )
    bootstrap = f"percentile bootstrap intervals{cite('efron1979')} from 2000 draws{drawn}"
    if not isinstance(one, ClassificationResults) or one.data.patients not in (None, one.data.samples):
        alike = f", and {wilson} where all samples score the same" if _any_alike(one) else ""
        return f"intervals at 95 % are {bootstrap}{alike}."
    average = f"; those of average cases are {bootstrap}" if one.perturbations else ""
    return f"intervals of accuracy at 95 % are {wilson}{average}."


def _any_alike(one: Results) -> bool:
    """All samples score 0, or all 1, at some ε."""
    curves: list[Sequence[float | None]] = [attack.values for attack in one.attacks]
    curves += [case.values for found in one.perturbations for case in (found.worst, found.average)]
    return any(value in (0, 1) for curve in curves for value in curve)


def _paired(models: Sequence[Results], differences: Sequence[Sequence[PairedDifference]]) -> Iterator[str]:
    if not differences:
        return
    entries = [one for found in differences for one in found]
    compared = f"{joined([one.label for one in models[1:]])} {_was(models[1:])} compared with {models[0].label}"
    yield f"On the same samples, {compared} at each ε that they share{_draws(entries)}."
    names = {"exact McNemar": f"the exact McNemar test{cite('mcnemar1947')}", "paired bootstrap": "the same draws"}
    tests = dict.fromkeys(names[one.test] for one in entries if one.p_value is not None)
    if tests:
        yield (
            f"The p-values of these differences are two-sided, from {joined(list(tests))}, and adjusted by Holm’s "
            f"method{cite('holm1979')} over all ε{' and models' * (len(models) > 2)}."
        )


def _draws(entries: Sequence[PairedDifference]) -> str:
    if any(one.low is None for one in entries):
        return ""
    draws = f"10,000 paired bootstrap draws{cite('efron1979')}"
    alike = any(abs(one.difference) == 1 or (one.difference == 0 and one.low == -(one.high or 0)) for one in entries)
    wilson = f", or Wilson’s{cite('wilson1927')} where all samples differ alike" * alike
    return f", with 95 % intervals of the differences from {draws}{wilson}"


PACKAGES = {"monai-ima": ("monai_ima", ()), "monai": ("MONAI", ("cardoso2022",)), "torch": ("PyTorch", ("paszke2019",))}


def _software(one: Results) -> str:
    used = [
        f"{name} {one.versions[package]}" + (cite(*keys) if keys else "")
        for package, (name, keys) in PACKAGES.items()
        if package in one.versions
    ]
    if " nnunet evaluate " in one.command:
        used.append("nnU-Net" + cite("isensee2021"))
    return f"computations used {joined(used)} on one machine ({one.machine})."


def _seed(one: Results) -> str | None:
    seed = one.settings.get("seed")
    return f"the random seed was {seed}." if isinstance(seed, int) else None
