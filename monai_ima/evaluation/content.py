"""What results.json says of every evaluation, whatever the task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monai_ima.results.provenance import provenance
from monai_ima.results.statistics import bootstrap_intervals
from monai_ima.results.subgroups import subgroups

from . import SampleRecord, ScanRecord
from .loaded import LoadedBundle

__all__ = ["shared_content"]


def shared_content(
    loaded: LoadedBundle,
    settings: dict[str, Any],
    levels: list[float],
    records: Sequence[SampleRecord | ScanRecord],
    scores: Mapping[str, Sequence[Sequence[float]]],
    groups: dict[str, str] | None,
) -> dict[str, Any]:
    """Provenance, the curve of every attack with intervals, subgroups and samples; None for what was not asked for.

    Args:
        loaded: the bundle.
        settings: of the evaluation.
        levels: radii, rising, ``[L]``.
        records: of the samples, ``[N]``.
        scores: for each attack ``[N, L]``, accuracy or Dice of every sample under it and all before it.
        groups: the group of every sample id, of the column ``group_by``; None means no subgroups.
    """
    given = [record.patient for record in records]
    patients = None if None in given else [str(patient) for patient in given]
    strongest = list(scores.values())[-1]
    ids = [record.sample_id for record in records]
    return {
        **provenance(loaded, settings, len(records), None if patients is None else len(set(patients))),
        "norm": settings["norm"],
        "levels": levels,
        "attacks": [
            {
                "name": name,
                "values": [math.fsum(column) / len(column) for column in zip(*own, strict=True)],
                "intervals": [list(ends) for ends in bootstrap_intervals(own, patients)],
            }
            for name, own in scores.items()
        ],
        "noise": None,
        "minimum": None,
        "units": None,
        "checks": None,
        "crosscheck": None,
        "groups": None if groups is None else subgroups(settings["group_by"], groups, ids, strongest, levels, patients),
        "samples": [
            {**record.as_dict(), "group": None if groups is None else groups[record.sample_id]} for record in records
        ],
    }
