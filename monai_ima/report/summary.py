"""A report's numbers for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai_ima.results.schema import Results

from .compare import labelled
from .comparison_sections import differences_summary
from .logs import Scalars
from .not_measured import not_measured
from .pairs import paired
from .submission_sections import submission_summary
from .training_sections import Margins
from .verdict import verdict

__all__ = ["json_summary"]


def json_summary(
    models: Sequence[Results],
    margins: Margins | None = None,
    logs: tuple[Path, Mapping[str, Scalars]] | None = None,
    title: str | None = None,
    submission: bool = False,
) -> str:
    """The summary numbers of all models as JSON; arguments as for :func:`monai_ima.report.build_report`.

    Raises:
        ValueError: if the models' norms or metrics differ.
    """
    models = labelled(models)
    pairs = paired(models)
    found = verdict(models, pairs)
    content: dict[str, Any] = {
        "title": title,
        "verdict": {"tone": found.tone, **dict(found.sentences)},
        "models": list(map(_model, models)),
        "differences": differences_summary(models, pairs),
        "not_measured": dict(not_measured(models, margins is not None, logs is not None)),
        "margins": _margins(margins) if margins else None,
        "training": _training(logs[1]) if logs else None,
    }
    if submission:
        content["submission"] = submission_summary(models)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FIELDS = {
    *(
        "task",
        "metric",
        "model",
        "data",
        "command",
        "norm",
        "levels",
        "units",
        "image_values",
        "bounds",
        "attacks",
        "surface_dice",
        "hd95",
    ),
    *("noise", "minimum", "groups", "crosscheck"),
}
"""What a summary takes over as it is."""


def _model(results: Results) -> dict[str, Any]:
    checks = None if results.checks is None else {check.title: check.status for check in results.checks}
    return {
        "name": results.label,
        "file": str(results.source.file),
        "sha256": results.source.digest,
        **results.model_dump(mode="json", include=FIELDS),
        "perturbations": [one.model_dump(mode="json", exclude={"samples", "case"}) for one in results.perturbations],
        "by_class": results.by_class,
        "checks": checks,
    }


def _margins(margins: Margins) -> dict[str, Any]:
    return {
        "checkpoint": str(margins.checkpoint),
        "eps_max": margins.table.eps_max,
        "delta": margins.table.delta,
        **asdict(margins.summary),
        "quantiles": {f"{quantile:g}": value for quantile, value in margins.summary.quantiles.items()},
    }


def _training(runs: Mapping[str, Scalars]) -> dict[str, Any]:
    return {
        run: {
            tag: {"values": len(points), "first": points[0][1], "last": points[-1][1]}
            for tag, points in scalars.items()
        }
        for run, scalars in runs.items()
    }
