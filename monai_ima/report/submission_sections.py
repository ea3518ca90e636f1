"""What was measured, and what not, by the questions that documents on medical devices ask about robustness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monai_ima.results.records import tally
from monai_ima.results.schema import ClassificationResults, Results
from monai_ima.utils.plain_numbers import counted

from .blocks import Block, Note, Table, Text
from .wording import (
    NORMS,
    attack_list,
    attacked,
    capitalised,
    counted_samples,
    epsilon,
    level,
    metric_name,
    score,
    score_at,
    score_cell,
    with_intervals,
)

__all__ = ["Answer", "answers", "submission", "submission_summary"]

GUIDANCE = (
    "FDA, draft guidance “Artificial Intelligence-Enabled Device Software Functions: Lifecycle Management and "
    "Marketing Submission Recommendations”, 7 January 2025"
)
OVERVIEW = (
    "ISO/IEC TR 24029-1:2021, “Artificial Intelligence (AI) — Assessment of the robustness of neural networks — "
    "Part 1: Overview”"
)
FORMAL = (
    "ISO/IEC 24029-2:2023, “Artificial intelligence (AI) — Assessment of the robustness of neural networks — "
    "Part 2: Methodology for the use of formal methods”"
)

OTHER = {"l2": "linf", "linf": "l2"}
NOT_MEASURED = "not measured"
NO_COMMAND = "No command of this package measures it."


@dataclass(frozen=True)
class Answer:
    """What a report has on one question.

    Attributes:
        question: of a document, in our words.
        measured: the figures; ``"not measured"`` where there are none.
        missing: what was not measured, and the command that would measure it where there is one.
    """

    question: str
    measured: str
    missing: str


def submission(models: Sequence[Results]) -> Iterator[Block]:
    """A table for each model and document.

    Args:
        models: with different labels.
    """
    yield Text(
        "The figures of this report, sorted by topics of three documents. The topics are in our words and a choice: "
        "read the documents. The guidance is the draft of January 2025, and a later version may ask otherwise. Of the "
        "two documents of ISO/IEC only titles, scopes and tables of contents were at hand."
    )
    yield Note(
        "caution",
        "No claim of conformity",
        "These are facts on what was measured and what was not. They neither claim nor show conformity with any of the "
        "documents, and are no regulatory advice.",
    )
    for one in models:
        for document, found in answers(one).items():
            rows = [[answer.question, answer.measured, answer.missing] for answer in found]
            caption = document if len(models) == 1 else f"{one.label}: {document}"
            yield Table(
                caption, ["asked about", "measured here", "not measured, and what measures it"], rows, words=True
            )


def submission_summary(models: Sequence[Results]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [
        {
            "model": one.label,
            "documents": [
                {"document": document, "answers": list(map(asdict, found))} for document, found in answers(one).items()
            ],
        }
        for one in models
    ]


def answers(results: Results) -> Mapping[str, list[Answer]]:
    """By document what was measured of one model on each of its questions."""
    return {
        GUIDANCE: [
            _what_it_is(results),
            _performance(results),
            _subgroups(results),
            _variation(results),
            _adversarial(results),
            _trust(results),
            Answer(
                "Cybersecurity, the rest: malformed input (fuzz) and penetration tests; poisoned training data, "
                "theft or inversion of the model, leaks of data; overfitting, bias or shifts of data caused on purpose",
                NOT_MEASURED,
                NO_COMMAND,
            ),
            _limits(results),
            Answer("Device performance monitoring: drift after release", NOT_MEASURED, NO_COMMAND),
        ],
        OVERVIEW: list(_overview(results)),
        FORMAL: list(_formal(results)),
    }


def _what_it_is(results: Results) -> Answer:
    model, data = results.model, results.data
    version = f", version {model.version}" if model.version else ""
    weights = f"weights with SHA-256 {model.sha256[:12]}…" if model.sha256 else "weights without a digest"
    return Answer(
        "Description of model and test data",
        f"{model.name}{version}: {model.network} with {model.parameters:,} parameters, {weights}. Tested on "
        f"{counted_samples(results)} of {data.name}, licence {data.licence or 'not stated'}. Command, settings, seed, "
        "machine and versions: “Model, data and command”.",
        "Training data, and how labels came about, are not part of results.",
    )


def _performance(results: Results) -> Answer:
    question = "Performance validation: performance on test data, and how sure it is"
    if results.levels[0] != 0:
        return Answer(question, NOT_MEASURED, _command("--levels that begin with 0"))
    text = f"{_score_name(results)} {score_at(results, 0)} without an attack, on {counted_samples(results)}."
    clean = {name: curve[0] for name, curve in results.by_class.items() if curve[0] is not None}
    if clean:
        low, high = min(clean, key=lambda name: clean[name]), max(clean, key=lambda name: clean[name])
        text += f" By class from {score(clean[low])} ({low}) to {score(clean[high])} ({high})."
    if results.data.synthetic:
        text += " The data are SYNTHETIC: nothing follows for patients."
    return Answer(
        question,
        text,
        "Other metrics (sensitivity, specificity), repeatability and reproducibility, readers, other sites and "
        f"devices. {NO_COMMAND}",
    )


def _subgroups(results: Results) -> Answer:
    question = "Performance validation: performance in subgroups of patients, sites and devices"
    groups = results.groups
    if groups is None:
        return Answer(question, NOT_MEASURED, _command("--groups FILE.csv --group_by COLUMN"))
    where = "without an attack" if results.levels[0] == 0 else f"at {epsilon(results.levels[0], results.pixel_size)}"
    parts = [
        f"{name} {score_cell(groups.values[name][0], groups.intervals[name][0])} (n = {count})"
        for name, count in groups.samples.items()
    ]
    text = f"{_score_name(results)} {where} by {groups.column}: {'; '.join(parts)}."
    if groups.largest_gap is not None:
        gap, (one, other) = groups.largest_gap, groups.largest_gap.between
        at = "without an attack" if gap.level == 0 else f"at {epsilon(gap.level, results.pixel_size)}"
        text += f" Largest gap: {gap.gap:.3f}, {one} above {other}, {at}."
    return Answer(question, text, f"Groups by other columns. {_command('--group_by COLUMN')}")


def _variation(results: Results) -> Answer:
    question = "Performance validation: robustness to foreseeable changes of input data, as by acquisition"
    parts = [
        f"{one.title} up to {level(one.levels[-1])} {one.unit}: worst case "
        f"{score_cell(one.worst.values[-1], one.worst.intervals[-1])}, on average "
        f"{score_cell(one.average.values[-1], one.average.intervals[-1])}"
        for one in results.perturbations
    ]
    if results.noise is not None and results.noise.failure_rate[-1] is not None:
        parts.append(
            f"uniform random noise at {epsilon(results.levels[-1], results.pixel_size)}: "
            f"{100 * results.noise.failure_rate[-1]:.1f} % of the draws, {results.noise.draws} a sample, break a "
            "correct prediction"
        )
    simulated = "Simulated changes are no scans: repeat scans and other devices were not measured."
    if not results.perturbations:
        simulated = f"Changes that scanners make. {_command('--perturbation NAMES')}"
    return Answer(question, f"{_score_name(results)}, {'; '.join(parts)}." if parts else NOT_MEASURED, simulated)


def _adversarial(results: Results) -> Answer:
    question = "Cybersecurity: input made to mislead the model (model evasion)"
    places = [k for k, value in enumerate(results.levels) if value > 0]
    if not places:
        return Answer(question, NOT_MEASURED, _command("--levels above 0"))
    attacks = attack_list([one.name for one in results.attacks], results.metric)
    parts = [f"{score_at(results, k)} at {epsilon(results.levels[k], results.pixel_size)}" for k in places]
    text = f"{_score_name(results)} {'; '.join(parts)}. Attacks, in the {NORMS[results.norm]} norm: {attacks}."
    other_norm = f"Attacks in the other norm. {_command('--norm ' + OTHER[results.norm])}"
    if not isinstance(results, ClassificationResults):
        return Answer(question, text, other_norm)
    if results.minimum is None:
        return Answer(question, text, f"The smallest perturbation of each sample. {_command('--minimum')}")
    median = results.minimum.median
    half = "fewer than half" if median is None else f"half at {epsilon(median, results.pixel_size)} or less"
    text += f" A search for the smallest perturbation breaks {half}, of {results.minimum.of} correct predictions."
    return Answer(question, text, other_norm)


def _trust(results: Results) -> Answer:
    parts, missing = [], []
    if results.checks:
        parts.append(f"Checks for gradient masking: {tally(results.checks)}.")
    else:
        missing.append(f"Checks for gradient masking. {_command('--checks')}")
    if results.crosscheck is None:
        missing.append(f"Verification with independent code. {_command('--crosscheck')}")
    else:
        rows, where = results.crosscheck.rows, epsilon(results.crosscheck.epsilon, results.pixel_size)
        agree = sum(row.agrees for row in rows)
        parts.append(
            f"Independent code: {agree} of {counted(len(rows), 'result')} agree, on "
            f"{counted(results.crosscheck.samples, 'sample')} at {where}."
        )
    return Answer(
        "Cybersecurity: whether tests fit the risk; here, whether the attacks were strong enough to be believed",
        " ".join(parts) or NOT_MEASURED,
        " ".join(missing),
    )


def _limits(results: Results) -> Answer:
    """Where the figures are worst; limits of use themselves are not for a program to state."""
    parts = []
    values = results.strongest.values
    if results.levels[0] == 0 and len(values) > 1:
        low = next((k for k, value in enumerate(values) if value < values[0] / 2), None)
        if low is None:
            last = epsilon(results.levels[-1], results.pixel_size)
            parts.append(f"up to {last} the score stays above half of the clean one")
        else:
            where = epsilon(results.levels[low], results.pixel_size)
            parts.append(f"from {where} on the score under attack is below half of the clean one")
    worst = [(one.worst.values[-1], one) for one in results.perturbations if one.worst.values[-1] is not None]
    if worst:
        value, one = min(worst, key=lambda found: found[0] or 0.0)
        parts.append(f"of the changes by scanners {one.title} does most harm: {score(value)} in the worst case")
    weakest = {name: curve[0] for name, curve in results.by_class.items() if curve[0] is not None}
    if weakest:
        name = min(weakest, key=lambda one: weakest[one])
        parts.append(f"the class with the lowest score is {name}: {score(weakest[name])}")
    return Answer(
        "Labeling: known limits of use",
        f"Worst figures here: {'; '.join(parts)}." if parts else NOT_MEASURED,
        "Images unlike these test data. The limits themselves are for the manufacturer to state.",
    )


def _overview(results: Results) -> Iterator[Answer]:
    above = sum(value > 0 for value in results.levels)
    ways = [f"{above} ε above 0 under attack" if above else "no attack"]
    if results.perturbations:
        ways.append(counted(len(results.perturbations), "simulated change"))
    yield Answer(
        "Statistical methods: performance over many samples",
        f"{_score_name(results)} over {counted_samples(results)}, for {' and '.join(ways)}"
        f"{with_intervals(results.strongest.intervals)}.",
        "How the samples represent the intended use.",
    )
    yield Answer(
        "Formal methods: proofs", NOT_MEASURED, "An attack finds counterexamples and proves nothing. " + NO_COMMAND
    )
    pictures = counted(len(results.cases), "picture")
    cases = f"No trial; {pictures} of worst cases, for experts to judge." if results.cases else ""
    yield Answer(
        "Empirical methods: field trials, a posteriori testing, benchmarking",
        cases or NOT_MEASURED,
        f"Trials in use. {NO_COMMAND}",
    )


def _formal(results: Results) -> Iterator[Answer]:
    size = results.pixel_size
    ends = zip(("from", "to"), results.bounds or (), strict=False)
    limits = [f"{word} {level(end)}" for word, end in ends if end is not None]
    bounds = f"within intensities {' '.join(limits)}" if limits else "bounds of intensity not stated"
    yield Answer(
        "Domain: the inputs for which a property has to hold",
        f"Balls in the {NORMS[results.norm]} norm around {counted_samples(results)}, up to "
        f"{epsilon(results.levels[-1], size)}, {bounds}."
        if attacked(results)
        else NOT_MEASURED,
        "Inputs between and beyond these balls." if attacked(results) else _command("--levels above 0"),
    )
    yield _stability(results)
    for name in (
        "Sensitivity: how far outputs move when inputs do",
        "Relevance: which parts of the input a decision rests on",
        "Reachability: which states can be reached by a network that acts in an environment",
    ):
        yield Answer(name, NOT_MEASURED, NO_COMMAND)


def _stability(results: Results) -> Answer:
    question = "Stability: the decision stays the same in the whole domain"
    if not attacked(results):
        return Answer(question, NOT_MEASURED, _command("--levels above 0"))
    last = epsilon(results.levels[-1], results.pixel_size)
    if not isinstance(results, ClassificationResults):
        return Answer(
            question,
            f"No proof. The lowest {metric_name(results)} that was found, as a mean over scans, is "
            f"{score(results.strongest.values[-1])} at {last}.",
            f"Proofs. {NO_COMMAND}",
        )
    correct = [sample for sample in results.samples if sample.correct]
    broken = sum(sample.broken is not None for sample in correct)
    return Answer(
        question,
        f"Counterexamples for {broken} of {counted(len(correct), 'correct prediction')} up to {last}.",
        f"Proofs: for the other {len(correct) - broken} no counterexample was found, which is no proof. {NO_COMMAND}",
    )


def _score_name(results: Results) -> str:
    return capitalised(metric_name(results))


def _command(options: str) -> str:
    return f"Measured by “monai-ima evaluate … {options}”."
