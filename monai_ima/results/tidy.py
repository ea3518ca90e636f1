"""Results as rows, one for each sample, attack and ε; and as a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .records import SampleRecord, ScanRecord

if TYPE_CHECKING:
    from .schema import Results

__all__ = ["summary_lines", "tidy_rows"]


def tidy_rows(results: Results) -> Iterator[dict[str, Any]]:
    """One row for each sample, attack and ε.

    ``score`` is the sample's under that attack and all before it: 1 where the prediction is right, else 0; of a
    segmentation its mean foreground Dice.
    """
    for sample in results.samples:  # type: ignore[attr-defined]
        known = {"sample_id": sample.sample_id, "patient": sample.patient, "group": sample.group}
        for attack in results.attacks:
            for k, eps in enumerate(results.levels):
                yield {**known, "attack": attack.name, "epsilon": eps, "score": _score(sample, attack.name, k, eps)}


def _score(sample: SampleRecord | ScanRecord, attack: str, k: int, eps: float) -> float:
    if isinstance(sample, ScanRecord):
        return sample.after[attack][k]
    broken = sample.broken_at[attack]
    return float(broken is None or broken > eps)


def summary_lines(results: Results) -> list[str]:
    """What was measured on what, and the score at every ε with its interval."""
    curve, data = results.strongest, results.data
    whom = "" if data.patients is None else f" of {data.patients} patients"
    attacks = "+".join(one.name for one in results.attacks)
    head = f"{results.label}: {results.metric} of {data.samples} samples{whom} ({data.name}), {results.norm}, {attacks}"
    rows = zip(results.levels, curve.values, curve.intervals or [None] * len(results.levels), strict=True)
    lines = [
        f"{eps:>10g}  {value:.3f}" + ("" if ends is None else f"  [{ends[0]:.3f}, {ends[1]:.3f}]")
        for eps, value, ends in rows
    ]
    return [head, f"{'ε':>10}  {results.metric}  95 % interval", *lines]
