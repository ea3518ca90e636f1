"""Every score as a row of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from monai_ima.report.wording import CASES
from monai_ima.results.schema import Results
from monai_ima.results.tidy import tidy_rows

__all__ = ["COLUMNS", "long_table", "scores"]

COLUMNS = ("model", "sample_id", "patient", "group", "perturbation", "unit", "attack", "epsilon", "score")
NOISE = "additive"


def scores(models: Sequence[Results]) -> Iterator[dict[str, Any]]:
    """A row for each model, sample, perturbation, attack and ε.

    ``perturbation`` is ``additive`` for the noise of the attacks, whose ``unit`` is the norm; else it is the
    perturbation's name, with its unit, and ``attack`` is ``worst``, ``average`` or ``torchio``. Scores are 0 or 1, or
    the mean foreground Dice; those of attacks are under the attack and all before it.
    """
    for model in models:
        for row in tidy_rows(model):
            yield {"model": model.label, "perturbation": NOISE, "unit": model.norm, **row}
        groups = {one.sample_id: one.group for one in model.samples}  # type: ignore[attr-defined]
        for found in model.perturbations:
            for sample in found.samples:
                known = {"sample_id": sample.sample_id, "patient": sample.patient, "group": groups[sample.sample_id]}
                for case in CASES:
                    for eps, score in zip(found.levels, getattr(sample, case) or (), strict=False):
                        change = {"perturbation": found.name, "unit": found.unit, "attack": case}
                        yield {"model": model.label, **known, **change, "epsilon": eps, "score": score}


def long_table(models: Sequence[Results]) -> str:
    """:func:`scores` as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(scores(models))
    return text.getvalue()
