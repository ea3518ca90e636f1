"""How far a model's figures can be trusted: checks for gradient masking, independent verification, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from monai_ima.results.parts import ImageValues
from monai_ima.results.records import CheckResult, tally
from monai_ima.results.schema import Results
from monai_ima.utils.plain_numbers import counted, plain_number

from .blocks import Block, Command, Findings, Note, Table, Text
from .not_measured import missing_options
from .wording import NORMS, NOTHING, capitalised, epsilon, level, metric_name, score

__all__ = ["all_findings", "checks", "provenance", "verification"]


def checks(results: Results) -> Iterator[Block]:
    """Whether there are signs that the attack, not the network, is the reason for a high score."""
    if not results.checks:
        return
    yield Text(
        f"{tally(results.checks)}. Each looks for a sign that a high score comes from a weak attack, not from a robust "
        "network. What each saw stands in the appendix."
    )
    if results.failed:
        yield all_findings(results.failed)
    passed = [check.title for check in results.checks if check.status == "passed"]
    if passed:
        yield Text(f"Passed: {'; '.join(passed)}.")


def all_findings(found: Sequence[CheckResult]) -> Findings:
    """What each check saw, with its numbers."""
    return Findings(
        [(check.title, check.status, _numbers(check), check.summary, check.interpretation) for check in found]
    )


def _numbers(check: CheckResult) -> str:
    shown = {name: NOTHING if value is None else plain_number(value) for name, value in check.numbers.items()}
    used = [] if check.samples is None else [f"n = {check.samples}"]
    return "; ".join([*used, *(f"{name}: {value}" for name, value in shown.items())])


def _values(values: ImageValues) -> str:
    if values.fewest == values.most:
        return f"{values.most:,} a sample"
    return f"{values.fewest:,} to {values.most:,} a sample; sizes are of the median, {values.median:,.0f}"


def verification(results: Results) -> Iterator[Block]:
    """What independent code found."""
    other = results.crosscheck
    if other is None:
        return
    apart = sum(not row.agrees for row in other.rows)
    where = epsilon(other.epsilon, results.pixel_size)
    yield Text(
        f"Independent code attacked {other.samples} of the {counted(results.data.samples, 'sample')} at {where}."
    )
    if apart:
        yield Note(
            "caution",
            f"{apart} of {len(other.rows)} results do not agree with ours",
            "A lower score of theirs means that our attack missed perturbations that exist.",
        )
    yield Table(
        f"{capitalised(metric_name(results))} under attack, theirs and ours",
        ["by", "theirs", "ours", "difference", "agrees"],
        [
            [row.by, score(row.theirs), score(row.ours), f"{row.theirs - row.ours:+.3f}", "yes" if row.agrees else "no"]
            for row in other.rows
        ],
    )


def provenance(results: Results) -> Iterator[Block]:
    """Where the figures come from."""
    data, size = results.data, results.pixel_size
    settings = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in results.settings.items()
    }
    rows = [
        ["model", results.model.name],
        ["the model’s version", results.model.version or "not stated"],
        ["network", f"{results.model.network}, {results.model.parameters:,} parameters"],
        *([] if results.model.output is None else [["the network's output", str(results.model.output)]]),
        ["weights", results.model.checkpoint or "not stated"],
        ["their SHA-256", results.model.sha256 or "not stated"],
        ["data", ("SYNTHETIC: " if data.synthetic else "") + data.name],
        ["licence of the data", data.licence or "not stated"],
        ["SHA-256 of ids, sizes and labels", data.sha256 or "not stated"],
        ["samples", f"{data.samples}" + ", the validation data of the training config" * data.validation],
        ["patients", "not stated" if data.patients is None else str(data.patients)],
        ["norm", NORMS[results.norm]],
        ["budgets ε", ", ".join(map(level, results.levels))],
        *([[size.name, ", ".join(map(size.number, results.levels))]] if size.factor is not None else []),
        *([["values that noise may change", _values(size.values)]] if size.values else []),
        ["attacks", ", ".join(one.name for one in results.attacks)],
        ["seed", settings.get("seed", "not stated")],
        ["machine", results.machine],
        ["date", results.date or "not stated"],
        ["commit of the working folder", results.commit or "not stated"],
        ["versions", ", ".join(f"{name} {value}" for name, value in results.versions.items())],
        ["results file", str(results.source.file)],
        ["its SHA-256", results.source.digest],
    ]
    yield Table("What was measured, on what, by what", ["item", "value"], rows, words=True)
    yield Text("The command that measured this:")
    yield Command(results.command)
    missing = missing_options(results)
    more = results.command_with(*missing)
    if missing and more is not None:
        yield Text("The same with what was not measured; it needs a new --out:")
        yield Command(more)
    yield Table("All settings of the evaluation", ["setting", "value"], list(settings.items()), words=True)
