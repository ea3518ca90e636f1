"""Worst and average case under a perturbation with parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monai_ima.attacks import Attack
from monai_ima.criteria import Criterion
from monai_ima.results.perturbed import PerturbedSample
from monai_ima.utils.checks import check_count
from monai_ima.utils.errors import SampleError
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import check_finite

from .batch import EvaluationBatch
from .evaluator import OnStage, SampleEvaluator
from .random_draws import RandomDraws
from .torchio_draws import TorchIODraw, has_transform

__all__ = ["PerturbationEvaluator", "PerturbedExample"]

DRAWS, TORCHIO = "random draws", "TorchIO"
"""What the average cases are called among the stages."""


@dataclass(frozen=True)
class PerturbedExample:
    """One sample, clean and at the worst change of one size that was found.

    Attributes:
        sample_id: of the sample.
        clean_score: of the clean image.
        score: of the changed one.
        clean: image ``[C, *spatial]``, the channels that may change.
        changed: image ``[C, *spatial]``, these channels.
        foreground: bool ``[*spatial]``, of the clean image's label map; None where the label is none.
        affine: of a volume, ``[4, 4]`` from voxels to mm; None where it is not known.
    """

    sample_id: str
    clean_score: float
    score: float
    clean: torch.Tensor
    changed: torch.Tensor
    foreground: torch.Tensor | None
    affine: np.ndarray | None = None


class PerturbationEvaluator(SampleEvaluator[PerturbedSample, list[PerturbedSample], PerturbedExample]):
    """The worst and the average case of every sample under a perturbation of rising size.

    The average case is the mean score over random draws of exactly each size. The worst case is the lowest score that a
    draw or an attack found at this size or a smaller one, whose ball lies in the larger; a sample that scores 0 is not
    attacked again. All draws are made per sample: results depend neither on batches nor on other perturbations.

    Args:
        evaluator: of the task; its network, data preparation, seed and scores are used.
        attacks: by name, all in the parameters of one perturbation.
        name: of the perturbation, which its random draws depend on.
        draws: for every sample and size, >= 1.
        torchio: measure as many random TorchIO transforms too, where it has one (:class:`TorchIODraw`).

    Raises:
        ImportError: if TorchIO is asked for and not installed.
        ValueError: if there is no attack, or ``draws`` < 1.

    Example:
        >>> from monai_ima.attacks import PGD
        >>> from monai_ima.evaluation import ClassificationEvaluator
        >>> from monai_ima.perturbations import Gain
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = {"image": torch.rand(3, 1, 2, 2), "label": torch.tensor([0, 1, 0]), "sample_id": list("abc")}
        >>> attack = PGD(steps=5, perturbation=Gain())
        >>> evaluator = PerturbationEvaluator(ClassificationEvaluator(network, attack), {"pgd5": attack}, "gain")
        >>> [len(sample.worst) for sample in evaluator.run([batch], [10, 20], progress=False)]
        [3, 3, 3]
    """

    record_type = PerturbedSample

    def __init__(
        self,
        evaluator: SampleEvaluator[Any, Any, Any],
        attacks: Mapping[str, Attack],
        name: str,
        draws: int = 10,
        torchio: bool = False,
    ) -> None:
        settings: dict[str, Any] = {
            name: getattr(evaluator, name) for name in ("prepare_batch", "inferer", "device", "seed")
        }
        super().__init__(evaluator.network, attacks, **settings)
        first = next(iter(self.attacks.values()))
        self.of_task = evaluator
        self.activity = name
        self.draws = check_count("draws", draws, 1)
        self.torchio: TorchIODraw | None = None
        if torchio and first.perturbation is not None and has_transform(first.perturbation):
            self.torchio = TorchIODraw(first.perturbation, first.bounds, first.channels)

    @property
    def criterion(self) -> Criterion:
        """The task's."""
        return self.of_task.criterion

    def scores(self, predict: Predictor, image: torch.Tensor, label: Any) -> torch.Tensor:
        """The task's; see :meth:`SampleEvaluator.scores`."""
        return self.of_task.scores(predict, image, label)

    def stages(self, levels: Sequence[float]) -> list[tuple[str, float]]:
        """See :meth:`SampleEvaluator.stages`; at every size random draws come first, TorchIO's last."""
        torchio = [] if self.torchio is None else [TORCHIO]
        return [(name, size) for size in levels[1:] for name in (DRAWS, *self.attacks, *torchio)]

    def _outcome(self, levels: list[float], records: list[PerturbedSample], values: list[int]) -> list[PerturbedSample]:
        return records

    def _attacked(self, batch: EvaluationBatch, levels: list[float], on_stage: OnStage) -> list[PerturbedSample]:
        batch, worst = self._clean(batch)
        clean = worst.score.tolist()
        lowest, averages, transformed = [clean], [clean], [clean]
        draws = self._random_draws(batch)
        for size in levels[1:]:
            averages.append(self._at(size, batch, draws, worst, on_stage))
            lowest.append(worst.score.tolist())
            transformed.append(self._transformed(size, batch, on_stage))
        return [
            PerturbedSample(
                sample_id=sample_id,
                patient=batch.patients[row],
                worst=[scores[row] for scores in lowest],
                average=[scores[row] for scores in averages],
                torchio=[scores[row] for scores in transformed] if self._has_torchio(batch) else None,
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _clean(self, batch: EvaluationBatch) -> tuple[EvaluationBatch, _Worst]:
        """The samples whose label counts, and what they score unchanged."""
        check_finite(batch.image, "an image")
        scores = self.scores(batch.predict, batch.image, batch.label)
        rows = (~scores.isnan()).nonzero().squeeze(1)
        batch = batch.select(rows)
        return batch, _Worst(batch.image.clone(), scores[rows])

    def _random_draws(self, batch: EvaluationBatch) -> RandomDraws | None:
        return RandomDraws(next(iter(self.attacks.values())), batch) if batch.sample_ids else None

    def _at(
        self, size: float, batch: EvaluationBatch, draws: RandomDraws | None, worst: _Worst, on_stage: OnStage
    ) -> list[float]:
        """The mean scores over draws of this size, NaN without any; draws and attacks change ``worst`` in place."""
        if draws is None:
            return []
        rows = torch.arange(len(batch.sample_ids))
        on_stage(DRAWS, size)
        generators = self._generators(batch, f"{self.activity}/draws/{size}")
        drawn = [self._take(batch, rows, *draws(size, generators), worst) for _ in range(self.draws)]
        generators = self._generators(batch, f"{self.activity}/{size}")
        for name, attack in self.attacks.items():
            rows = (worst.score > 0).nonzero().squeeze(1)
            if len(rows) > 0:
                on_stage(name, size)
                self._try(attack, size, batch, rows, generators, worst)
        return torch.stack(drawn).nanmean(dim=0).tolist()

    def _has_torchio(self, batch: EvaluationBatch) -> bool:
        return self.torchio is not None and batch.image.ndim in (4, 5)

    def _transformed(self, size: float, batch: EvaluationBatch, on_stage: OnStage) -> list[float]:
        """The mean scores over random TorchIO transforms of this size, NaN without any."""
        if self.torchio is None or not self._has_torchio(batch) or not batch.sample_ids:
            return []
        on_stage(TORCHIO, size)
        generators = self._generators(batch, f"{self.activity}/torchio/{size}")
        drawn = []
        for _ in range(self.draws):
            image, label = self.torchio(batch.image, batch.label, size, generators, batch.spacing)
            drawn.append(self.scores(batch.predict, image, label))
        return torch.stack(drawn).nanmean(dim=0).tolist()

    def _try(
        self,
        attack: Attack,
        size: float,
        batch: EvaluationBatch,
        rows: torch.Tensor,
        generators: list[torch.Generator],
        worst: _Worst,
    ) -> None:
        """Attack the samples at these rows; the worst images are kept."""
        batch, generators = batch.select(rows), [generators[row] for row in rows.tolist()]
        try:
            found = attack(batch.predict, batch.image, batch.label, size, generators, spacing=batch.spacing)
        except SampleError as error:
            raise error.named(batch.sample_ids) from None
        self._take(batch, rows, found.image, found.label, worst)

    def _take(
        self, batch: EvaluationBatch, rows: torch.Tensor, image: torch.Tensor, label: Any, worst: _Worst
    ) -> torch.Tensor:
        """The scores of changed images of the samples at these rows; the worst ones are kept."""
        scores = self.scores(batch.predict, image, batch.label if label is None else label)
        worst.update(rows, image, scores)
        return scores

    def _examples(self, batch: EvaluationBatch, eps: float) -> dict[str, PerturbedExample]:
        if not 3 <= batch.image.ndim <= 5:
            return {}
        batch, worst = self._clean(batch)
        clean = worst.score.clone()
        self._at(eps, batch, self._random_draws(batch), worst, lambda *_: None)
        return {
            sample_id: PerturbedExample(
                sample_id,
                float(clean[row]),
                float(worst.score[row]),
                self._shown(batch.image[row]),
                self._shown(worst.image[row]),
                self._foreground(batch, row),
                batch.affines[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        }

    def _foreground(self, batch: EvaluationBatch, row: int) -> torch.Tensor | None:
        label = batch.label
        if not isinstance(label, torch.Tensor) or label.ndim != batch.image.ndim:
            return None
        return (label[row] > 0).any(dim=0).cpu()


@dataclass(frozen=True)
class _Worst:
    """The changed image of the lowest score that is known of every sample, and that score."""

    image: torch.Tensor
    score: torch.Tensor

    def update(self, rows: torch.Tensor, image: torch.Tensor, score: torch.Tensor) -> None:
        worse = score < self.score[rows]
        self.image[rows[worse]], self.score[rows[worse]] = image[worse], score[worse]
