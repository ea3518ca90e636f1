"""Dice, surface Dice and HD95 of a segmentation network under attack."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.utils import convert_to_tensor
from torch import nn

from monai_ima.attacks import Attack
from monai_ima.criteria import SegmentationCriterion
from monai_ima.inferers import gradient_inferer
from monai_ima.results.records import ScanRecord, Scores, mean_of_known
from monai_ima.utils.checks import check_not_negative
from monai_ima.utils.errors import SampleError
from monai_ima.utils.label_maps import first_head, prediction_maps
from monai_ima.utils.outputs import choose_output
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import check_finite

from .batch import EvaluationBatch
from .evaluator import EvaluatorSettings, OnStage, SampleEvaluator

__all__ = ["ScanExample", "SegmentationEvaluator", "SegmentationOutcome"]


@dataclass(frozen=True)
class ScanExample:
    """One scan, clean and attacked at one ε.

    Attributes:
        sample_id: of the scan.
        eps: perturbation budget.
        clean_dice: mean foreground Dice of the clean image.
        noisy_dice: mean foreground Dice of the adversarial image.
        clean: image ``[C, *spatial]``, the channels that noise may change.
        noisy: image ``[C, *spatial]``, these channels under attack.
        label: class indices ``[*spatial]``.
        clean_prediction: class indices ``[*spatial]``.
        noisy_prediction: class indices ``[*spatial]``.
        affine: of a volume, ``[4, 4]`` from voxels to mm; None where it is not known.
    """

    sample_id: str
    eps: float
    clean_dice: float
    noisy_dice: float
    clean: torch.Tensor
    noisy: torch.Tensor
    label: torch.Tensor
    clean_prediction: torch.Tensor
    noisy_prediction: torch.Tensor
    affine: np.ndarray | None = None


@dataclass
class SegmentationOutcome:
    """What an evaluation at rising ε found.

    Attributes:
        levels: ε, rising, the first is 0 (clean).
        records: one for each scan, by id.
        attacks: names, in the order in which they were run.
        values: for each scan how many values of its image noise may change, in no order.
        dimensions: of space; None where they are not known.

    Example:
        >>> scores = [Scores(dice=[dice], surface_dice=[dice], hd95=[1.0]) for dice in (0.9, 0.4)]
        >>> record = ScanRecord(sample_id="a", scores=scores, after={"pgd10": [0.9, 0.4]})
        >>> SegmentationOutcome([0.0, 1.0], [record], ["pgd10"]).mean("dice")
        [0.9, 0.4]
    """

    levels: list[float]
    records: list[ScanRecord] = field(default_factory=list)
    attacks: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    dimensions: int | None = None

    def mean(self, metric: str = "dice", label: int | None = None) -> list[float]:
        """The mean of a metric over the scans that have it, at every ε; NaN where none has.

        Args:
            metric: ``"dice"``, ``"surface_dice"`` or ``"hd95"``.
            label: position of a class among those that count; None means the mean over a scan's classes.
        """
        means = []
        for k in range(len(self.levels)):
            scores = [record.scores[k] for record in self.records]
            means.append(mean_of_known(s.mean(metric) if label is None else getattr(s, metric)[label] for s in scores))
        return means

    def scores(self) -> dict[str, list[list[float]]]:
        """``{attack: [N, L]}``: mean foreground Dice of every scan under an attack and all before it."""
        return {name: [record.after[name] for record in self.records] for name in self.attacks}

    def undefined(self, metric: str = "hd95") -> list[int]:
        """At every ε: in how many scans the metric is not defined for a class that the label holds."""
        return [
            sum(
                any(d is not None and v is None for d, v in zip(s.dice, getattr(s, metric), strict=True))
                for s in (record.scores[k] for record in self.records)
            )
            for k in range(len(self.levels))
        ]


class SegmentationEvaluator(SampleEvaluator[ScanRecord, SegmentationOutcome, ScanExample]):
    """Dice, surface Dice and HD95 of a segmentation network under attack at rising ε.

    At every ε each scan is attacked from the clean image; the most adversarial image of a smaller ε, which lies in the
    larger ball too, counts where its Dice is lower. Random starts are drawn per scan: results do not depend on the
    batch size. A sliding-window inferer is attacked whole, with exact gradients.

    Args:
        network: it is attacked in evaluation mode.
        attack: what it is attacked with; several, by name, follow one another, the most adversarial image counts. The
            criterion should be ``DiceCriterion("lowest")``: with a threshold the attack ends as soon as that is passed.
        tolerance: of surface Dice, in mm where images know their spacing, else in voxels.
        settings: ``prepare_batch``, ``inferer``, ``device`` and ``seed`` of :class:`SampleEvaluator`.

    Raises:
        ValueError: if there is no attack, or one is not on segmentations.

    Example:
        >>> from monai_ima.attacks import FGSM
        >>> from monai_ima.criteria import DiceCriterion
        >>> attack = FGSM("l2", criterion=DiceCriterion("lowest"))
        >>> batch = {"image": torch.rand(1, 1, 8, 8), "label": torch.ones(1, 1, 8, 8), "sample_id": ["a"]}
        >>> evaluator = SegmentationEvaluator(nn.Conv2d(1, 2, 1), attack)
        >>> len(evaluator.run([batch], [0.1], progress=False).mean("dice"))
        2
    """

    record_type = ScanRecord

    def __init__(
        self,
        network: nn.Module,
        attack: Attack | Mapping[str, Attack],
        *,
        tolerance: float = 1.0,
        **settings: Unpack[EvaluatorSettings],
    ) -> None:
        super().__init__(network, attack, **settings)
        self.inferer = gradient_inferer(self.inferer)
        self.tolerance = check_not_negative("tolerance", tolerance)
        self._dice = self.criterion.lowest_dice()

    @property
    def criterion(self) -> SegmentationCriterion:
        """Says how a prediction scores.

        Raises:
            ValueError: if an attack is not on segmentations.
        """
        for attack in self.attacks.values():
            if not isinstance(attack.criterion, SegmentationCriterion):
                raise ValueError(
                    f"Got an attack with a {type(attack.criterion).__name__}, expected one with a DiceCriterion or "
                    "SurfaceDiceCriterion."
                )
            found = attack.criterion
        return found

    def scores(self, predict: Predictor, image: torch.Tensor, label: Any) -> torch.Tensor:
        """The mean foreground Dice; see :meth:`SampleEvaluator.scores`."""
        by_class = self._dice.scores_by_class(self._logits(predict, image, label), label)
        return torch.tensor([mean_of_known(dice) for dice in by_class.tolist()], dtype=torch.float64)

    def _outcome(self, levels: list[float], records: list[ScanRecord], values: list[int]) -> SegmentationOutcome:
        by_id = sorted(records, key=lambda record: record.sample_id)
        return SegmentationOutcome(levels, by_id, list(self.attacks), values, self._dimensions)

    def _attacked(self, batch: EvaluationBatch, levels: list[float], on_stage: OnStage) -> list[ScanRecord]:
        start = self._clean(batch)
        worst = start.copy()
        history = [self._scores(start.logits, batch)]
        after = {name: [self._mean_dice(start.logits, batch)] for name in self.attacks}
        for eps in levels[1:]:
            generators = self._generators(batch, eps)
            for name, attack in self.attacks.items():
                on_stage(name, eps)
                self._attack(attack, batch, eps, generators, worst)
                after[name].append(self._mean_dice(worst.logits, batch))
            history.append(self._scores(worst.logits, batch))
        return [
            ScanRecord(
                sample_id=sample_id,
                scores=[scores[row] for scores in history],
                after={name: [dice[row] for dice in values] for name, values in after.items()},
                unit="voxels" if batch.spacings[row] is None else "mm",
                patient=batch.patients[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _clean(self, batch: EvaluationBatch) -> _WorstScan:
        check_finite(batch.image, "an image")
        logits = self._logits(batch.predict, batch.image, batch.label)
        lowest = self.criterion.score(logits, batch.label)
        if lowest.isnan().any():
            raise SampleError(int(lowest.isnan().nonzero()[0]), "has a label without foreground, expected some.")
        return _WorstScan(batch.image.clone(), logits, lowest)

    def _attack(
        self, attack: Attack, batch: EvaluationBatch, eps: float, generators: list[torch.Generator], worst: _WorstScan
    ) -> None:
        found = attack(batch.predict, batch.image, batch.label, eps, generators).image
        logits = self._logits(batch.predict, found, batch.label)
        score = self.criterion.score(logits, batch.label)
        worse = (score < worst.score).nonzero().squeeze(1)
        worst.image[worse], worst.score[worse], worst.logits[worse] = found[worse], score[worse], logits[worse]

    def _examples(self, batch: EvaluationBatch, eps: float) -> dict[str, ScanExample]:
        start = self._clean(batch)
        worst = start.copy()
        generators = self._generators(batch, eps)
        for attack in self.attacks.values():
            self._attack(attack, batch, eps, generators, worst)
        dice = [self._mean_dice(logits, batch) for logits in (start.logits, worst.logits)]
        maps = (self._label_maps(start.logits, batch.label), self._maps(start.logits), self._maps(worst.logits))
        return {
            sample_id: ScanExample(
                sample_id=sample_id,
                eps=eps,
                clean_dice=dice[0][row],
                noisy_dice=dice[1][row],
                clean=self._shown(batch.image[row]),
                noisy=self._shown(worst.image[row]),
                label=self._index(maps[0][row]),
                clean_prediction=self._index(maps[1][row]),
                noisy_prediction=self._index(maps[2][row]),
                affine=batch.affines[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        }

    def _mean_dice(self, logits: torch.Tensor, batch: EvaluationBatch) -> list[float]:
        return [mean_of_known(dice) for dice in self._dice.scores_by_class(logits, batch.label).tolist()]

    def _logits(self, forward: Predictor, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = convert_to_tensor(first_head(choose_output(forward(image), label=label), label), track_meta=False)
        check_finite(logits, "a prediction")
        return logits

    def _maps(self, logits: torch.Tensor) -> torch.Tensor:
        return prediction_maps(logits, self.criterion.sigmoid)

    def _label_maps(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return self.criterion.maps(logits, label)[1]

    def _index(self, maps: torch.Tensor) -> torch.Tensor:
        """Class indices of maps ``[K, *spatial]`` for a picture; of overlapping channels the last one is shown."""
        classes = torch.arange(len(maps), device=maps.device) + (1 if self.criterion.sigmoid else 0)
        return (maps * classes.view(-1, *([1] * (maps.ndim - 1)))).amax(dim=0).cpu()

    def _scores(self, logits: torch.Tensor, batch: EvaluationBatch) -> list[Scores]:
        first = 0 if self.criterion.include_background else 1
        prediction, target = (maps[:, first:].cpu() for maps in self.criterion.maps(logits, batch.label))
        dice = self._dice.scores_by_class(logits, batch.label)
        scores = []
        for row, spacing in enumerate(batch.spacings):
            one, other = prediction[row : row + 1], target[row : row + 1]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="the (ground truth|prediction) of class")
                warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
                tolerances = [self.tolerance] * target.shape[1]
                common: dict[str, Any] = {"include_background": True, "spacing": spacing}
                surface = compute_surface_dice(one, other, tolerances, **common)
                distance = compute_hausdorff_distance(one, other, percentile=95, **common)
            present = other[0].flatten(1).any(dim=1).tolist()
            metrics = (dice[row], surface[0].nan_to_num(0.0), distance[0])
            defined = [_defined(values.tolist(), present) for values in metrics]
            scores.append(Scores(**dict(zip(Scores.model_fields, defined, strict=True))))
        return scores


@dataclass(frozen=True)
class _WorstScan:
    """The most adversarial image known of every scan, its logits and its score."""

    image: torch.Tensor
    logits: torch.Tensor
    score: torch.Tensor

    def copy(self) -> _WorstScan:
        return _WorstScan(self.image.clone(), self.logits.clone(), self.score.clone())


def _defined(values: list[float], present: list[bool]) -> list[float | None]:
    return [value if here and math.isfinite(value) else None for value, here in zip(values, present, strict=True)]
