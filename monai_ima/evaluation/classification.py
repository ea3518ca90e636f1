from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import Attack, AttackResult, MinimumNorm, UniformNoise, attack_mode
from monai_ima.criteria import Criterion
from monai_ima.utils.checks import check_count
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.predictor import unwrap
from monai_ima.utils.tensors import check_finite, first_output

from .batch import EvaluationBatch, evaluation_batch, named_attacks, note_ids

__all__ = ["RobustnessEvaluator", "RobustnessResult", "SampleRecord", "check_levels"]


@dataclass(frozen=True)
class SampleRecord:
    """One sample under attack at rising levels.

    Attributes:
        sample_id: of the sample.
        label: class index.
        predicted: class predicted without noise.
        broken_at: for each attack the first level at which it, or one before it, made the prediction wrong; 0 when
            it is wrong without noise, None when it stands at every level.
        noisy_predicted: class predicted on the image that broke it; ``predicted`` when it stands.
        distance: of the nearest wrong image known to a search for it, 0 when the sample is wrong without noise; None
            when it found none, or was not asked for.
        noise_failures: for every level, how many draws of white noise made a right prediction wrong; None when none
            were drawn, or the prediction is wrong without noise.
        patient: whom the sample is of; None where the data do not say.
    """

    sample_id: str
    label: int
    predicted: int
    broken_at: dict[str, float | None]
    noisy_predicted: int
    distance: float | None = None
    noise_failures: list[int] | None = None
    patient: str | None = None

    @property
    def broken(self) -> float | None:
        """The first level at which any of the attacks broke it."""
        return list(self.broken_at.values())[-1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SampleRecord:
        """The record that :meth:`as_dict` made."""
        return cls(**values)


@dataclass
class RobustnessResult:
    """What an evaluation at rising levels found.

    Attributes:
        levels: radii, rising, the first is 0 (no noise).
        attacks: names, in the order in which they were run.
        records: one for each sample.
        noise_draws: of white noise, at every level.
    """

    levels: list[float]
    attacks: list[str]
    records: list[SampleRecord] = field(default_factory=list)
    noise_draws: int = 0

    def right(self, attack: str | None = None) -> list[list[bool]]:
        """``[N, L]``: is a sample right at a level, under an attack and all before it? None means all attacks."""
        name = self.attacks[-1] if attack is None else attack
        broken = [record.broken_at[name] for record in self.records]
        return [[level is None or level > radius for radius in self.levels] for level in broken]

    def right_at(self, level: float, label: int | None = None) -> tuple[int, int]:
        """How many samples (of a class) are right at a level, and how many there are."""
        own = [record for record in self.records if label is None or record.label == label]
        return sum(record.broken is None or record.broken > level for record in own), len(own)

    def accuracy(self, label: int | None = None) -> list[float]:
        """Accuracy at every level (for a class: share of its samples that are right); NaN without samples."""
        pairs = [self.right_at(level, label) for level in self.levels]
        return [right / total if total else math.nan for right, total in pairs]

    def noise_failure_rate(self) -> list[float]:
        """Share of the draws of white noise that made a right prediction wrong, at every level; NaN without any."""
        known = [record.noise_failures for record in self.records if record.noise_failures is not None]
        draws = len(known) * self.noise_draws
        return [sum(counts[k] for counts in known) / draws if draws else math.nan for k in range(len(self.levels))]


class RobustnessEvaluator:
    """Accuracy of a classifier under attack at rising levels of noise.

    A sample that is broken at one level is broken at every larger one (the noisy image that broke it lies in the larger
    ball too), so it is not attacked again there, nor by the attacks that follow: these only see whether it is broken
    at a smaller level. Random starts are drawn per sample: results do not depend on the batch size.

    Args:
        network: the classifier; it is attacked in evaluation mode.
        attack: what it is attacked with; several, by name, follow one another.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: None means ``SimpleInferer``.
        device: where the network is.
        seed: of the random starts.
        noise_draws: of white noise for every sample and level, beside the attacks.
        minimum: search for the smallest perturbation of every sample, up to the highest level. It comes last among the
            attacks, as ``"minimum"``.

    Raises:
        ValueError: when there is no attack.
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack | Mapping[str, Attack],
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        noise_draws: int = 0,
        minimum: MinimumNorm | None = None,
    ) -> None:
        self.network = unwrap(network)
        self.attacks = named_attacks(attack)
        self.prepare_batch = default_prepare_batch if prepare_batch is None else prepare_batch
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.device = torch.device(device)
        self.seed = int(seed)
        self.noise_draws = check_count("noise_draws", noise_draws, 0)
        self.minimum = minimum

    @property
    def criterion(self) -> Criterion:
        """Says when a prediction is right."""
        return next(iter(self.attacks.values())).criterion

    def run(
        self,
        data_loader: Iterable,
        levels: Sequence[float],
        progress: bool = True,
        done: Sequence[SampleRecord] = (),
        on_records: Callable[[list[SampleRecord]], None] | None = None,
    ) -> RobustnessResult:
        """Evaluate on all batches of a loader.

        Args:
            data_loader: gives batches with labels and sample ids (or image files), and patients where there are any.
            levels: radii >= 0, in the units that the network sees; 0 is added when it is missing.
            progress: show a progress bar.
            done: records of an evaluation that broke off; a batch whose samples are all among them is left out.
            on_records: called with a batch's records, to save them.

        Raises:
            ValueError: when levels are not as above, a batch has no labels or ids, or an id comes twice.
        """
        names = [*self.attacks, *(["minimum"] if self.minimum is not None else [])]
        result = RobustnessResult(check_levels(levels), names, [], self.noise_draws)
        known = {record.sample_id: record for record in done}
        seen: set[str] = set()
        with attack_mode(self.network):
            for batchdata in tqdm(data_loader, desc="under attack", disable=not progress):
                batch = self.prepare(batchdata)
                note_ids(batch.sample_ids, seen)
                if all(sample_id in known for sample_id in batch.sample_ids):
                    result.records += [known[sample_id] for sample_id in batch.sample_ids]
                    continue
                records = self._records(batch, result.levels)
                result.records += records
                if on_records is not None:
                    on_records(records)
        if not seen:
            raise ValueError("The data loader gave no samples, expected at least one.")
        return result

    def prepare(self, batchdata: dict) -> EvaluationBatch:
        """A batch as the attacks take it.

        Raises:
            ValueError: when it has no labels or ids.
        """
        prepared = self.prepare_batch(batchdata, self.device)
        return evaluation_batch(batchdata, prepared, self.inferer, self.network)

    def noisy(self, batch: EvaluationBatch, level: float) -> torch.Tensor:
        """What the attacks make of a batch at one level, ``[B, C, *spatial]``: the first image that breaks a sample."""
        found, broken = batch.image.clone(), torch.zeros(len(batch.image), dtype=torch.bool, device=batch.image.device)
        for attack in [*self.attacks.values(), *([self.minimum] if self.minimum is not None else [])]:
            rows = (~broken).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            outcome = self._attack(attack, batch.select(rows), level)
            found[rows] = outcome.image
            broken[rows[outcome.success]] = True
        return found

    @torch.no_grad()
    def _records(self, batch: EvaluationBatch, levels: list[float]) -> list[SampleRecord]:
        try:
            return self._attacked(batch, levels)
        except SampleError as error:
            raise error.named(batch.sample_ids) from None

    def _attacked(self, batch: EvaluationBatch, levels: list[float]) -> list[SampleRecord]:
        check_finite(batch.image, "an image")
        logits = first_output(batch.predict(batch.image))
        predicted = logits.argmax(dim=1)
        noisy_predicted = predicted.clone()
        broken_at = torch.zeros(len(batch.image), dtype=torch.float64, device=self.device)
        right = self.criterion(logits, batch.label)
        broken_at[right] = math.inf
        after = {}
        for name, attack in self.attacks.items():
            for level in levels[1:]:
                rows = (broken_at > level).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                left = batch.select(rows)
                found = self._attack(attack, left, level)
                noisy_predicted[rows] = first_output(left.predict(found.image)).argmax(dim=1)
                broken_at[rows[found.success]] = level
            after[name] = broken_at.tolist()
        distance = None
        if self.minimum is not None and len(levels) > 1:
            distance = self._nearest(batch, levels, broken_at, noisy_predicted)
            after["minimum"] = broken_at.tolist()
        failures = self._noise_failures(batch, levels) if self.noise_draws else None
        return [
            SampleRecord(
                sample_id,
                int(batch.label[row]),
                int(predicted[row]),
                {name: None if math.isinf(values[row]) else values[row] for name, values in after.items()},
                int(noisy_predicted[row]),
                None if distance is None or math.isinf(distance[row]) else distance[row],
                failures[row] if failures is not None and right[row] else None,
                batch.patients[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _attack(self, attack: Attack, batch: EvaluationBatch, level: float) -> AttackResult:
        streams = per_sample_generators(f"{self.seed}/{level}", batch.sample_ids, self.device)
        return attack(batch.predict, batch.image, batch.label, level, streams)

    def _nearest(
        self, batch: EvaluationBatch, levels: list[float], broken_at: torch.Tensor, noisy_predicted: torch.Tensor
    ) -> list[float]:
        """Distances that the search finds; what they break counts in ``broken_at`` and ``noisy_predicted``."""
        assert self.minimum is not None
        found = self._attack(self.minimum, batch, levels[-1])
        classes = first_output(batch.predict(found.image)).argmax(dim=1)
        distance = [math.inf] * len(batch.image)
        for row in found.success.nonzero().flatten().tolist():
            distance[row] = float(found.distance[row])
            level = next(level for level in levels if level >= distance[row] * (1 - 1e-6))
            if level < broken_at[row]:
                broken_at[row], noisy_predicted[row] = level, classes[row]
        return distance

    def _noise_failures(self, batch: EvaluationBatch, levels: list[float]) -> list[list[int]]:
        first = next(iter(self.attacks.values()))
        noise = UniformNoise(first.norm.name, 1, first.bounds, self.criterion)
        counts = torch.zeros(len(batch.image), len(levels), dtype=torch.int64, device=self.device)
        for k, level in enumerate(levels[1:], 1):
            streams = per_sample_generators(f"{self.seed}/noise/{level}", batch.sample_ids, self.device)
            for _ in range(self.noise_draws):
                counts[:, k] += noise(batch.predict, batch.image, batch.label, level, streams).success
        return counts.tolist()


def check_levels(levels: Sequence[float]) -> list[float]:
    """``levels`` in rising order without repeats, 0 first.

    Raises:
        ValueError: when one is not a finite number >= 0.
    """
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 <= level < math.inf:
            raise ValueError(f"Got level {level!r}, expected finite numbers >= 0.")
    return sorted({0.0, *(float(level) for level in levels)})
