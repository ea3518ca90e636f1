"""Parts of a model's section that say how far its figures can be trusted: checks, second opinion, provenance."""

from __future__ import annotations

from collections.abc import Iterator

from monai_ima.results.schema import Check, Results

from .blocks import Block, Command, Findings, Note, Table, Text
from .wording import NOTHING, epsilon, level, metric_word, norm_word, score

__all__ = ["checks", "provenance", "second_opinion"]


def checks(results: Results) -> Iterator[Block]:
    """Whether there are signs that the attack, not the network, is the reason for a high score."""
    if not results.checks:
        yield Text(
            "None was run. A network can look robust because the attack fails, not because it stands; these checks "
            "look for signs of that. Run them with this, and a new --out:"
        )
        yield Command(f"{results.command} --checks")
        return
    if results.failed:
        yield Note(
            "failed",
            f"{len(results.failed)} of {len(results.checks)} checks failed",
            "The score under attack may be too high. Do not quote it before the cause is known.",
        )
    yield Text("Each check looks for a sign that a high score comes from a weak attack, not from a robust network.")
    yield Findings([(check.title, check.status, _numbers(check), check.says, check.means) for check in results.checks])


def _numbers(check: Check) -> str:
    shown = {name: NOTHING if value is None else f"{value:.4g}" for name, value in check.numbers.items()}
    return "; ".join(f"{name}: {value}" for name, value in shown.items())


def second_opinion(results: Results) -> Iterator[Block]:
    """What independent code found."""
    other = results.crosscheck
    if other is None:
        yield Text("No independent code was asked. Ask it with this, and a new --out:")
        yield Command(f"{results.command} --crosscheck")
        return
    apart = sum(not agrees for *_, agrees in other.rows)
    where = epsilon(other.epsilon, results.units)
    yield Text(f"Independent code attacked {other.samples} of the same samples at {where}.")
    if apart:
        yield Note(
            "caution",
            f"{apart} of {len(other.rows)} results do not agree with ours",
            "A lower score of theirs means that our attack missed noise that exists.",
        )
    metric = metric_word(results.metric)
    yield Table(
        f"{metric[0].upper() + metric[1:]} under attack, theirs and ours",
        ["by", "theirs", "ours", "difference", "agrees"],
        [
            [by, score(theirs), score(ours), f"{theirs - ours:+.3f}", "yes" if agrees else "no"]
            for by, theirs, ours, agrees in other.rows
        ],
    )


def provenance(results: Results) -> Iterator[Block]:
    """Where the figures come from."""
    rows = [
        ["model", results.model],
        ["version", results.model_version or "not stated"],
        ["network", f"{results.network}, {results.parameters:,} parameters"],
        ["weights", results.checkpoint],
        ["data", ("SYNTHETIC: " if results.synthetic else "") + results.data],
        ["licence of the data", results.licence or "not stated"],
        ["samples", f"{results.sample_count}"],
        ["patients", "not stated" if results.patients is None else str(results.patients)],
        ["norm", norm_word(results.norm)],
        ["levels ε", ", ".join(map(level, results.levels))],
        *_physical_levels(results),
        ["attacks", ", ".join(one.name for one in results.attacks)],
        ["seed", results.settings.get("seed", "not stated")],
        ["machine", results.machine],
        ["versions", ", ".join(f"{name} {value}" for name, value in results.versions.items())],
        ["results file", str(results.file)],
        ["its SHA-256", results.digest],
    ]
    yield Table("What was measured, on what, by what", ["item", "value"], rows, words=True)
    yield Text("The command that measured this:")
    yield Command(results.command)
    yield Table(
        "All settings of the evaluation",
        ["setting", "value"],
        [[key, value] for key, value in results.settings.items()],
        words=True,
    )


def _physical_levels(results: Results) -> list[list[str]]:
    units = results.units
    if units is None:
        return []
    return [[f"levels in {units.name}", ", ".join(level(one * units.per_unit) for one in results.levels)]]
