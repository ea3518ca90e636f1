"""What only those need who check or repeat a report: names, numbers, commands."""

from __future__ import annotations

from collections.abc import Sequence

from monai_ima.results.schema import Results

from .blocks import Block, Section, Table, Text
from .submission_sections import submission
from .trust_sections import all_findings, provenance
from .wording import attack_words

__all__ = ["appendix"]


def appendix(models: Sequence[Results], with_submission: bool = False) -> Section:
    """Attacks by name, what each check saw, and where the figures come from; before them what a submission asks."""
    parts = [Section("submission", "For a submission file", list(submission(models)))] if with_submission else []
    parts.append(Section("attacks", "Attacks by name", [_attacks(models)]))
    for k, one in enumerate(models, 1):
        whose = "" if len(models) == 1 else f": {one.label}"
        if one.checks:
            blocks: list[Block] = [
                Text("n is the number of samples that a check used. One that lacks what it needs is not run."),
                all_findings(one.checks),
            ]
            parts.append(Section(f"model-{k}-findings", f"What the checks saw{whose}", blocks))
        parts.append(Section(f"model-{k}-data", f"Model, data and command{whose}", list(provenance(one))))
    return Section("appendix", "Appendix", (), parts)


def _attacks(models: Sequence[Results]) -> Table:
    words = {
        name: attack_words(name, one.metric)
        for one in models
        for name in (
            *(attack.name for attack in one.attacks),
            *(name for perturbation in one.perturbations for name in perturbation.attacks),
        )
    }
    return Table(
        "Names as options, CSV files and results.json have them", ["name", "attack"], list(words.items()), True
    )
