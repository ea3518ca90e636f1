"""A classifier under attack: results, tables, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from monai_ima.attacks import MinimumNorm
from monai_ima.results.base import as_numbers
from monai_ima.results.parts import Minimum, Noise
from monai_ima.results.records import SampleRecord, as_outputs
from monai_ima.results.schema import ClassificationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.plain_numbers import counted
from monai_ima.visualize import Example, attack_examples, case_picture, classes_in_words, robustness_curves, save_figure

from .classification import ClassificationEvaluator, ClassificationOutcome
from .loaded import LoadedBundle
from .task import Task

__all__ = ["MAX_CLASSES", "ClassificationTask"]

NOISE_DRAWS = 20
MAX_CLASSES = 20
"""Curves and the terminal's table show classes up to this number, examples.png one sample each of the first."""


class ClassificationTask(Task[SampleRecord, ClassificationOutcome, Example]):
    """Accuracy; see :class:`Task`."""

    overview = "examples.png"
    max_verified = 100

    def __init__(self, loaded: LoadedBundle, settings: EvaluationSettings) -> None:
        super().__init__(loaded, settings)
        search = MinimumNorm(settings.norm, bounds=loaded.bounds, criterion=loaded.criterion, channels=loaded.channels)
        minimum = search if settings.minimum else None
        self.evaluator = ClassificationEvaluator.of_bundle(
            loaded, self.attacks, settings.seed, noise_draws=NOISE_DRAWS, minimum=minimum
        )

    def results(self, outcome: ClassificationOutcome, common: Mapping[str, Any]) -> ClassificationResults:
        """Accuracy of all and by class (of independent outputs each one's), random noise, smallest perturbations."""
        classes = self._classes(outcome)
        of_class = outcome.label_accuracy if outcome.multi_label else outcome.accuracy
        return ClassificationResults(
            **common,
            task="classification",
            metric="accuracy",
            classes=classes,
            accuracy=outcome.accuracy(),
            accuracy_by_class={name: of_class(k) for k, name in enumerate(classes)},
            noise=Noise(draws=outcome.noise_draws, failure_rate=outcome.noise_failure_rate()),
            minimum=_minimum(outcome) if self.settings.minimum else None,
        )

    def curve(self, results: ClassificationResults) -> Figure:
        """Accuracy of all and, where they are few, by class."""
        curves = {"all classes": results.accuracy}
        if len(results.classes) <= MAX_CLASSES:
            curves |= {name: as_numbers(curve) for name, curve in results.accuracy_by_class.items()}
        title = f"{self.attack_names}, {counted(results.data.samples, 'sample')} ({results.data.name})"
        return robustness_curves(results.levels, curves, results.norm, title, second=results.pixel_size.scale)

    def tables(self, results: ClassificationResults) -> dict[str, list[Sequence[Any]]]:
        """results.csv, and minimum.csv where it was searched for."""
        by_class = results.accuracy_by_class
        rows: list[Sequence[Any]] = [["norm", "epsilon", "correct", "samples", "accuracy", "low", "high", *by_class]]
        for k, eps in enumerate(results.levels):
            correct = sum(sample.broken is None or sample.broken > eps for sample in results.samples)
            figures = [correct, results.data.samples, results.accuracy[k], *(results.strongest.intervals[k] or ())]
            rows.append([results.norm, eps, *figures, *(values[k] for values in by_class.values())])
        if results.minimum is None:
            return {"results.csv": rows}
        found = [(one.sample_id, one.label, one.predicted, one.distance) for one in results.samples]
        return {"results.csv": rows, "minimum.csv": [["sample_id", "label", "predicted", "distance"], *found]}

    def drawn(self, outcome: ClassificationOutcome) -> tuple[list[str], dict[str, float]]:
        """Those that are broken most easily; one sample of each class is drawn too."""
        correct = [record for record in outcome.records if record.correct]
        worst = sorted(correct, key=lambda record: (*_difficulty(record), record.sample_id))[: self.settings.cases]
        wanted = [*worst, *_one_of_each_class(outcome.records)]
        highest = outcome.levels[-1]
        levels = {record.sample_id: highest if record.broken is None else record.broken for record in wanted}
        return [record.sample_id for record in worst], levels

    def picture(self, results: ClassificationResults, example: Example, limit: float) -> tuple[str, Figure]:
        """Clean image, perturbation and adversarial image."""
        found = (example.label, example.predicted, example.noisy_predicted)
        names = [classes_in_words(one, results.classes) for one in found]
        summary = f"label {names[0]}, predicted {names[1]}, under attack {names[2]}"
        return summary, case_picture(example.clean, example.noisy, limit, names[1:])

    def draw_overview(self, folder: Path, results: ClassificationResults, examples: Mapping[str, Example]) -> None:
        """A sample of each class."""
        ids = [record.sample_id for record in _one_of_each_class(results.samples)]
        shown = [examples[sample_id] for sample_id in ids if sample_id in examples]
        if shown:
            title = f"{'+'.join(attack.name for attack in results.attacks)} ({results.data.name})"
            figure = attack_examples(shown, results.classes, title, results.pixel_size.text)
            save_figure(figure, folder / self.overview)

    def _classes(self, outcome: ClassificationOutcome) -> list[str]:
        named = self.loaded.classes
        if outcome.multi_label:
            count = len(as_outputs(outcome.records[0].label))
            return named if len(named) == count else [str(k) for k in range(count)]
        found = [(one.label, one.predicted, one.noisy_predicted) for one in outcome.records]
        count = 1 + max(index or 0 for one in found for classes in one for index in as_outputs(classes))
        return named if len(named) >= count else [str(k) for k in range(count)]


def _one_of_each_class(records: Sequence[SampleRecord]) -> list[SampleRecord]:
    """A correctly classified sample of each class (or set of labels), one that is broken where there is one."""
    by_class: dict[tuple[int, ...], SampleRecord] = {}
    for record in records:
        label = tuple(-1 if output is None else output for output in as_outputs(record.label))
        kept = by_class.get(label)
        if record.correct and (kept is None or (kept.broken is None and record.broken is not None)):
            by_class[label] = record
    return [record for _, record in sorted(by_class.items())][:MAX_CLASSES]


def _minimum(outcome: ClassificationOutcome) -> Minimum:
    correct = [record for record in outcome.records if record.correct]
    found = sorted(record.distance for record in correct if record.distance is not None)
    middle = (len(correct) - 1) // 2
    median = found[middle] if 0 <= middle < len(found) else None
    return Minimum(up_to=outcome.levels[-1], found=len(found), of=len(correct), median=median)


def _difficulty(record: SampleRecord) -> tuple[float, float]:
    """How difficult it is to break a sample: by distance, then by ε."""
    distance, eps = record.distance, record.broken
    return math.inf if distance is None else distance, math.inf if eps is None else eps
