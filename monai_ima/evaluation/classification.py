"""Accuracy of a classifier under attack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Unpack

import torch
from torch import nn

from monai_ima.attacks import Attack, AttackResult, MinimumNorm, UniformNoise
from monai_ima.criteria import BinaryCriterion
from monai_ima.results.records import SampleRecord, mean_of_known
from monai_ima.utils.checks import check_count
from monai_ima.utils.class_labels import classes_of
from monai_ima.utils.ignored_labels import counted_entries
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import check_finite, first_output
from monai_ima.visualize import Example

from .batch import EvaluationBatch
from .evaluator import EvaluatorSettings, OnStage, SampleEvaluator

__all__ = ["ClassificationEvaluator", "ClassificationOutcome"]

MINIMUM = "minimum"
"""What the search for the smallest perturbation is called among the attacks."""
NOISE = "uniform noise"
"""What the draws of uniform random noise are called among the stages."""


@dataclass
class ClassificationOutcome:
    """What an evaluation at rising ε found.

    Attributes:
        levels: ε, rising, the first is 0 (clean).
        attacks: names, in the order in which they were run.
        records: one for each sample.
        noise_draws: of uniform random noise, at every ε.
        values: for each sample how many values of its image noise may change.
        dimensions: of space; None where they are not known.

    Example:
        >>> record = SampleRecord(sample_id="a", label=0, predicted=0, broken_at={"pgd10": 0.5}, noisy_predicted=1)
        >>> ClassificationOutcome([0.0, 0.1, 0.5], ["pgd10"], [record]).accuracy()
        [1.0, 1.0, 0.0]
    """

    levels: list[float]
    attacks: list[str]
    records: list[SampleRecord] = field(default_factory=list)
    noise_draws: int = 0
    values: list[int] = field(default_factory=list)
    dimensions: int | None = None

    @property
    def multi_label(self) -> bool:
        """The network has several outputs, independent of each other."""
        return any(isinstance(record.label, list) for record in self.records)

    def correct(self, attack: str | None = None) -> list[list[bool]]:
        """``[N, L]``: is a sample correct at an ε, under an attack and all before it? None means all attacks."""
        name = self.attacks[-1] if attack is None else attack
        broken = [record.broken_at[name] for record in self.records]
        return [[level is None or level > eps for eps in self.levels] for level in broken]

    def scores(self) -> dict[str, list[list[float]]]:
        """``{attack: [N, L]}``: 1 or 0 for every sample under an attack and all before it."""
        return {name: [list(map(float, row)) for row in self.correct(name)] for name in self.attacks}

    def correct_at(self, eps: float, label: int | None = None) -> tuple[int, int]:
        """How many samples (of a class) are correct at an ε, and how many there are."""
        of_class = [record for record in self.records if label is None or record.label == label]
        return sum(record.broken is None or record.broken > eps for record in of_class), len(of_class)

    def accuracy(self, label: int | None = None) -> list[float]:
        """Accuracy at every ε (for a class: share of its samples that are correct); NaN without samples."""
        pairs = [self.correct_at(eps, label) for eps in self.levels]
        return [correct / total if total else math.nan for correct, total in pairs]

    def label_accuracy(self, label: int) -> list[float]:
        """Of independent outputs: share of the samples with a known label whose output is right, at every ε.

        A sample that an attack broke at or below ε counts with the outputs for the image that broke it. NaN where the
        label is unknown in every sample.
        """
        return [mean_of_known(record.right_outputs(eps)[label] for record in self.records) for eps in self.levels]

    def noise_failure_rate(self) -> list[float]:
        """Share of the draws of uniform random noise that broke a correct prediction, at every ε; NaN without any."""
        known = [record.noise_failures for record in self.records if record.noise_failures is not None]
        draws = len(known) * self.noise_draws
        return [sum(counts[k] for counts in known) / draws if draws else math.nan for k in range(len(self.levels))]


class ClassificationEvaluator(SampleEvaluator[SampleRecord, ClassificationOutcome, Example]):
    """Accuracy of a classifier under attack at rising ε.

    A sample that is broken at one ε is broken at every larger one (the image that broke it lies in the larger ball
    too), so it is not attacked again there, nor by the attacks that follow: these only see whether it is broken at a
    smaller ε. Random starts are drawn per sample: results do not depend on the batch size. A sample whose label the
    criterion ignores is left out.

    Args:
        network: the classifier; it is attacked in evaluation mode.
        attack: what it is attacked with; several, by name, follow one another.
        noise_draws: of uniform random noise for every sample and ε, beside the attacks; >= 0.
        minimum: search for the smallest perturbation of every sample, up to the highest ε. It comes last among the
            attacks, as ``"minimum"``.
        settings: ``prepare_batch``, ``inferer``, ``device`` and ``seed`` of :class:`SampleEvaluator`.

    Raises:
        ValueError: if there is no attack, or ``noise_draws`` < 0.

    Example:
        >>> from monai_ima.attacks import FGSM
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> batch = {"image": torch.rand(3, 1, 2, 2), "label": torch.tensor([0, 1, 0]), "sample_id": list("abc")}
        >>> len(ClassificationEvaluator(network, FGSM("l2")).run([batch], [0.1], progress=False).accuracy())
        2
    """

    record_type = SampleRecord

    def __init__(
        self,
        network: nn.Module,
        attack: Attack | Mapping[str, Attack],
        *,
        noise_draws: int = 0,
        minimum: MinimumNorm | None = None,
        **settings: Unpack[EvaluatorSettings],
    ) -> None:
        super().__init__(network, attack, **settings)
        self.noise_draws = check_count("noise_draws", noise_draws, 0)
        self.minimum = minimum

    def stages(self, levels: Sequence[float]) -> list[tuple[str, float]]:
        """See :meth:`SampleEvaluator.stages`; one attack after the other, then the search and uniform noise."""
        attacks = [(name, eps) for name in self.attacks for eps in levels[1:]]
        search = [(MINIMUM, levels[-1])] if self.minimum is not None and len(levels) > 1 else []
        return attacks + search + [(NOISE, eps) for eps in levels[1:] if self.noise_draws]

    def noisy(self, batch: EvaluationBatch, eps: float) -> torch.Tensor:
        """Adversarial images of a batch at one ε, ``[B, C, *spatial]``: the first image that breaks a sample."""
        found, broken = batch.image.clone(), torch.zeros(len(batch.image), dtype=torch.bool, device=batch.image.device)
        for attack in [*self.attacks.values(), *([self.minimum] if self.minimum is not None else [])]:
            rows = (~broken).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            outcome = self._attack(attack, batch.select(rows), eps)
            found[rows] = outcome.image
            broken[rows[outcome.success]] = True
        return found

    def scores(self, predict: Predictor, image: torch.Tensor, label: Any) -> torch.Tensor:
        """1 where the prediction is correct, else 0; see :meth:`SampleEvaluator.scores`."""
        score = self.criterion.score(first_output(predict(image)), label)
        return self.criterion.decide(score).double().masked_fill(score.isnan(), math.nan).cpu()

    def _outcome(self, levels: list[float], records: list[SampleRecord], values: list[int]) -> ClassificationOutcome:
        names = [*self.attacks, *([MINIMUM] if self.minimum is not None else [])]
        return ClassificationOutcome(levels, names, records, self.noise_draws, values, self._dimensions)

    def _attacked(self, batch: EvaluationBatch, levels: list[float], on_stage: OnStage) -> list[SampleRecord]:
        check_finite(batch.image, "an image")
        logits = first_output(batch.predict(batch.image))
        labelled = self.criterion.labelled(logits, batch.label).nonzero().squeeze(1)
        if len(labelled) == 0:
            return []
        batch, logits = batch.select(labelled), logits[labelled]
        predicted, labels = self._predicted(logits), self._labels(batch)
        noisy_predicted = predicted.clone()
        broken_at = torch.zeros(len(batch.image), dtype=torch.float64, device=self.device)
        correct = self.criterion(logits, batch.label)
        broken_at[correct] = math.inf
        after = {}
        for name, attack in self.attacks.items():
            self._break(attack, batch, levels, broken_at, noisy_predicted, partial(on_stage, name))
            after[name] = broken_at.tolist()
        distance = [math.inf] * len(batch.image)
        if self.minimum is not None and len(levels) > 1:
            on_stage(MINIMUM, levels[-1])
            distance = self._nearest(self.minimum, batch, levels, broken_at, noisy_predicted)
            after[MINIMUM] = broken_at.tolist()
        failures = self._noise_failures(batch, levels, partial(on_stage, NOISE)) if self.noise_draws else None
        return [
            SampleRecord(
                sample_id=sample_id,
                label=labels[row],
                predicted=_classes(predicted[row]),
                broken_at={name: _finite(values[row]) for name, values in after.items()},
                noisy_predicted=_classes(noisy_predicted[row]),
                distance=_finite(distance[row]),
                noise_failures=failures[row] if failures is not None and correct[row] else None,
                patient=batch.patients[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _predicted(self, prediction: Any) -> torch.Tensor:
        """The classes predicted: int ``[B]``, of a single logit 0 or 1; of K independent outputs these, ``[B, K]``."""
        logits = first_output(prediction)
        if not isinstance(self.criterion, BinaryCriterion):
            return logits.argmax(dim=1)
        return self.criterion.positive(logits).long().squeeze(1)

    def _labels(self, batch: EvaluationBatch) -> list[int | list[int | None]]:
        """Each sample's label; of several independent outputs None where it is unknown."""
        if not isinstance(self.criterion, BinaryCriterion):
            return classes_of(batch.label).tolist()
        known = counted_entries(batch.label, self.criterion.ignore_index)
        labels, counted = (x.reshape(len(x), -1).tolist() for x in (batch.label, known))
        if len(labels[0]) == 1:
            return [int(label) for (label,) in labels]
        return [
            [int(value) if counts else None for value, counts in zip(*row, strict=True)]
            for row in zip(labels, counted, strict=True)
        ]

    def _break(
        self,
        attack: Attack,
        batch: EvaluationBatch,
        levels: list[float],
        broken_at: torch.Tensor,
        noisy_predicted: torch.Tensor,
        on_level: Callable[[float], None],
    ) -> None:
        """Attack at rising ε what is not broken there; ``broken_at`` and ``noisy_predicted`` are changed in place."""
        for eps in levels[1:]:
            rows = (broken_at > eps).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            on_level(eps)
            unbroken = batch.select(rows)
            found = self._attack(attack, unbroken, eps)
            noisy_predicted[rows] = self._predicted(unbroken.predict(found.image))
            broken_at[rows[found.success]] = eps

    def _attack(self, attack: Attack, batch: EvaluationBatch, eps: float) -> AttackResult:
        return attack(batch.predict, batch.image, batch.label, eps, self._generators(batch, eps))

    def _nearest(
        self,
        search: MinimumNorm,
        batch: EvaluationBatch,
        levels: list[float],
        broken_at: torch.Tensor,
        noisy_predicted: torch.Tensor,
    ) -> list[float]:
        """Distances that the search finds; what they break counts in ``broken_at`` and ``noisy_predicted``."""
        found = self._attack(search, batch, levels[-1])
        classes = self._predicted(batch.predict(found.image))
        distance = [math.inf] * len(batch.image)
        for row in found.success.nonzero().flatten().tolist():
            distance[row] = float(found.distance[row])
            level = next(level for level in levels if level >= distance[row] * (1 - 1e-6))
            if level < broken_at[row]:
                broken_at[row], noisy_predicted[row] = level, classes[row]
        return distance

    def _noise_failures(
        self, batch: EvaluationBatch, levels: list[float], on_level: Callable[[float], None]
    ) -> list[list[int]]:
        first = next(iter(self.attacks.values()))
        noise = UniformNoise(first.norm.name, 1, first.bounds, self.criterion, channels=first.channels)
        counts = torch.zeros(len(batch.image), len(levels), dtype=torch.int64, device=self.device)
        for k, eps in enumerate(levels[1:], 1):
            on_level(eps)
            generators = self._generators(batch, f"noise/{eps}")
            for _ in range(self.noise_draws):
                counts[:, k] += noise(batch.predict, batch.image, batch.label, eps, generators).success
        return counts.tolist()

    def _examples(self, batch: EvaluationBatch, eps: float) -> dict[str, Example]:
        if batch.image.ndim > 4:
            return {}
        return {name: self._example(batch.select([row]), eps) for row, name in enumerate(batch.sample_ids)}

    def _example(self, sample: EvaluationBatch, eps: float) -> Example:
        noisy = self.noisy(sample, eps)
        predicted, changed = (_classes(self._predicted(sample.predict(x))) for x in (sample.image, noisy))
        return Example(
            sample_id=sample.sample_ids[0],
            label=self._labels(sample)[0],
            predicted=predicted,
            noisy_predicted=changed,
            eps=eps,
            clean=self._shown(sample.image[0]),
            noisy=self._shown(noisy[0]),
        )


def _classes(value: torch.Tensor) -> int | list[int]:
    """One sample's class index; of several independent outputs 0 or 1 for each."""
    return int(value) if value.numel() == 1 else [int(output) for output in value.flatten()]


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value
