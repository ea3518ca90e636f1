"""A segmentation network under attack: results, tables, pictures."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from monai_ima.results.base import as_numbers
from monai_ima.results.records import ScanRecord
from monai_ima.results.schema import SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.plain_numbers import counted
from monai_ima.visualize import robustness_curves, volume_example

from .loaded import LoadedBundle
from .segmentation import ScanExample, SegmentationEvaluator, SegmentationOutcome
from .task import Task

__all__ = ["SegmentationTask"]

METRICS = SegmentationResults.curves
CASE_DPI = 110


class SegmentationTask(Task[ScanRecord, SegmentationOutcome, ScanExample]):
    """Dice, surface Dice and HD95; see :class:`Task`."""

    overview = "scan.png"
    max_verified = 4

    def __init__(self, loaded: LoadedBundle, settings: EvaluationSettings) -> None:
        super().__init__(loaded, settings)
        self.evaluator: SegmentationEvaluator = SegmentationEvaluator.of_bundle(
            loaded, self.attacks, settings.seed, tolerance=settings.tolerance
        )

    def results(self, outcome: SegmentationOutcome, common: Mapping[str, Any]) -> SegmentationResults:
        """All metrics, of all and by class."""
        classes = self._classes(outcome)
        curves: dict[str, Any] = {metric: outcome.mean(metric) for metric in METRICS}
        for metric in METRICS:
            curves[f"{metric}_by_class"] = {name: outcome.mean(metric, k) for k, name in enumerate(classes)}
        return SegmentationResults(
            **common,
            task="segmentation",
            metric="dice",
            classes=classes,
            noise=None,
            minimum=None,
            **curves,
            hd95_undefined=outcome.undefined(),
        )

    def curve(self, results: SegmentationResults) -> Figure:
        """Dice, mean and by class."""
        attacks = "+".join(one.name for one in results.attacks)
        title = f"{counted(results.data.samples, 'scan')} ({results.data.name}), {attacks}"
        lines = {name: as_numbers(curve) for name, curve in [("mean", results.dice), *results.dice_by_class.items()]}
        return robustness_curves(results.levels, lines, results.norm, title, "Dice", results.pixel_size.scale)

    def tables(self, results: SegmentationResults) -> dict[str, list[Sequence[Any]]]:
        """results.csv."""
        curves: dict[str, Sequence[float | None]] = {}
        for m in METRICS:
            curves[f"{m} mean"] = getattr(results, m)
            curves |= {f"{m} {name}": curve for name, curve in getattr(results, f"{m}_by_class").items()}
        rows: list[Sequence[Any]] = [["norm", "epsilon", "scans", *curves, "scans with an undefined hd95"]]
        for k, eps in enumerate(results.levels):
            figures = [curve[k] for curve in curves.values()]
            rows.append([results.norm, eps, results.data.samples, *figures, results.hd95_undefined[k]])
        return {"results.csv": rows}

    def drawn(self, outcome: SegmentationOutcome) -> tuple[list[str], dict[str, float]]:
        """The scans of the lowest Dice over all ε."""
        worst = sorted(outcome.records, key=lambda r: math.fsum(scores.mean("dice") for scores in r.scores))
        ids = [record.sample_id for record in worst[: self.settings.cases]]
        return ids, dict.fromkeys(ids, outcome.levels[-1])

    def picture(self, results: SegmentationResults, example: ScanExample, limit: float) -> tuple[str, Figure]:
        """Three planes with the contours of label and predictions."""
        summary = f"Dice {example.clean_dice:.3f} clean, {example.noisy_dice:.3f} under attack"
        figure = volume_example(
            example.clean,
            example.noisy,
            example.label,
            example.clean_prediction,
            example.noisy_prediction,
            example.eps,
            results.norm,
            f"{example.sample_id}: {summary}",
            results.pixel_size.text(example.eps),
            example.affine,
            self.loaded.classes,
            limit,
        )
        figure.set_dpi(CASE_DPI)
        return summary, figure

    def draw_overview(self, folder: Path, results: SegmentationResults, examples: Mapping[str, ScanExample]) -> None:
        """The first case."""
        shutil.copyfile(folder / "cases" / "00.png", folder / self.overview)

    def _classes(self, outcome: SegmentationOutcome) -> list[str]:
        background = self.evaluator.criterion.include_background
        count = len(outcome.records[0].scores[0].dice)
        names = self.loaded.classes if background else self.loaded.classes[1:]
        return names if len(names) == count else [f"class {k + (not background)}" for k in range(count)]
