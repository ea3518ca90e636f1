from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.utils import convert_to_tensor
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import Attack, attack_mode
from monai_ima.criteria import DiceCriterion, SegmentationCriterion
from monai_ima.inferers import gradient_inferer
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.label_maps import first_head, label_maps, prediction_maps
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.tensors import check_finite, first_output

from .batch import EvaluationBatch, evaluation_batch, named_attacks, note_ids
from .classification import check_levels

__all__ = ["ScanExample", "ScanRecord", "Scores", "SegmentationEvaluator", "SegmentationResult"]


@dataclass(frozen=True)
class Scores:
    """One prediction against its label; lists have a value per class that counts, None where it is not defined.

    Attributes:
        dice: None for a class that the label does not hold.
        surface_dice: share of both surfaces within the tolerance; None as for Dice.
        hd95: 95th percentile of the surfaces' distances (Hausdorff), in mm; None also where nothing was predicted.
    """

    dice: list[float | None]
    surface_dice: list[float | None]
    hd95: list[float | None]

    def mean(self, metric: str) -> float:
        """The mean of a metric over the classes that have it; NaN when none has."""
        return _mean(getattr(self, metric))


@dataclass(frozen=True)
class ScanRecord:
    """One scan under attack at rising levels.

    Attributes:
        sample_id: of the scan.
        scores: one for each level, without noise first, at the worst image found so far.
        after: for each attack the mean foreground Dice at every level, at the worst image that it or an attack before
            it found.
        patient: whom the scan is of; None where the data do not say.
    """

    sample_id: str
    scores: list[Scores]
    after: dict[str, list[float]] = field(default_factory=dict)
    patient: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ScanRecord:
        """The record that :meth:`as_dict` made."""
        return cls(**{**values, "scores": [Scores(**scores) for scores in values["scores"]]})


@dataclass(frozen=True)
class ScanExample:
    """One scan, clean and attacked at one level.

    Attributes:
        sample_id: of the scan.
        eps: the level.
        clean_dice: mean foreground Dice without noise.
        noisy_dice: mean foreground Dice with noise.
        clean: image ``[C, *spatial]``.
        noisy: image ``[C, *spatial]``.
        label: class indices ``[*spatial]``.
        clean_prediction: class indices ``[*spatial]``.
        noisy_prediction: class indices ``[*spatial]``.
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


@dataclass
class SegmentationResult:
    """What an evaluation at rising levels found.

    Attributes:
        levels: radii, rising, the first is 0 (no noise).
        records: one for each scan.
        attacks: names, in the order in which they were run.
    """

    levels: list[float]
    records: list[ScanRecord] = field(default_factory=list)
    attacks: list[str] = field(default_factory=list)

    def mean(self, metric: str = "dice", label: int | None = None) -> list[float]:
        """The mean of a metric over the scans that have it, at every level; NaN where none has.

        Args:
            metric: ``"dice"``, ``"surface_dice"`` or ``"hd95"``.
            label: position of a class among those that count; None means the mean over a scan's classes.
        """
        means = []
        for k in range(len(self.levels)):
            scores = [record.scores[k] for record in self.records]
            means.append(_mean([s.mean(metric) if label is None else getattr(s, metric)[label] for s in scores]))
        return means

    def undefined(self, metric: str = "hd95") -> list[int]:
        """At every level: in how many scans the metric is not defined for a class that the label holds."""
        return [
            sum(
                any(d is not None and v is None for d, v in zip(s.dice, getattr(s, metric), strict=True))
                for s in (record.scores[k] for record in self.records)
            )
            for k in range(len(self.levels))
        ]


class SegmentationEvaluator:
    """Dice, surface Dice and HD95 of a segmentation network under attack at rising levels of noise.

    At every level each scan is attacked anew from the clean image; the worst image of a lower level, which lies in the
    larger ball too, counts when it is worse (lower Dice). Random starts are drawn per scan: results do not depend on
    the batch size. A sliding-window inferer is attacked whole, with exact gradients.

    Args:
        network: it is attacked in evaluation mode.
        attack: what it is attacked with; several, by name, follow one another, the worst image counts. The criterion
            should go for the lowest score (``DiceCriterion("lowest")``): with a threshold the attack ends as soon as
            that is passed.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: None means ``SimpleInferer``.
        device: where the network is.
        seed: of the random starts.
        tolerance: of surface Dice, in mm where images know their spacing, else in voxels.

    Raises:
        ValueError: when there is no attack, or one is not on segmentations.
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack | Mapping[str, Attack],
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        tolerance: float = 1.0,
    ) -> None:
        self.attacks = named_attacks(attack)
        for one in self.attacks.values():
            if not isinstance(one.criterion, SegmentationCriterion):
                raise ValueError(
                    f"Got an attack with a {type(one.criterion).__name__}, expected one with a DiceCriterion or "
                    "SurfaceDiceCriterion."
                )
            self.criterion: SegmentationCriterion = one.criterion
        self.network = unwrap(network)
        self.prepare_batch = default_prepare_batch if prepare_batch is None else prepare_batch
        self.inferer = gradient_inferer(SimpleInferer() if inferer is None else inferer)
        self.device = torch.device(device)
        self.seed = int(seed)
        self.tolerance = float(tolerance)
        self._dice = DiceCriterion("lowest", self.criterion.include_background, self.criterion.sigmoid)

    def run(
        self,
        data_loader: Iterable,
        levels: Sequence[float],
        done: Sequence[ScanRecord] = (),
        on_record: Callable[[ScanRecord], None] | None = None,
        progress: bool = True,
    ) -> SegmentationResult:
        """Evaluate on all batches of a loader.

        Args:
            data_loader: gives batches with labels and sample ids (or image files).
            levels: radii >= 0, in the units that the network sees; 0 is added when it is missing.
            done: records of an evaluation that broke off; their scans are not evaluated again.
            on_record: called with every new record, to save it.
            progress: show a progress bar.

        Raises:
            ValueError: when levels are not as above, a batch has no labels or ids, a label holds no foreground, or an
                id comes twice.
        """
        result = SegmentationResult(check_levels(levels), list(done), list(self.attacks))
        known = {record.sample_id for record in done}
        seen: set[str] = set()
        with attack_mode(self.network), torch.no_grad():
            for batchdata in tqdm(data_loader, desc="under attack", disable=not progress):
                batch = self.prepare(batchdata)
                note_ids(batch.sample_ids, seen)
                rows = [row for row, sample_id in enumerate(batch.sample_ids) if sample_id not in known]
                for record in self._records(batch.select(rows), result.levels) if rows else []:
                    result.records.append(record)
                    if on_record is not None:
                        on_record(record)
        if not result.records:
            raise ValueError("The data loader gave no samples, expected at least one.")
        return result

    def examples(self, data_loader: Iterable, sample_ids: Collection[str], level: float) -> list[ScanExample]:
        """Some of a loader's scans, attacked once more at one level, for pictures.

        Args:
            data_loader: as for :meth:`run`.
            sample_ids: of the scans.
            level: > 0.
        """
        found = []
        with attack_mode(self.network), torch.no_grad():
            for batchdata in data_loader:
                batch = self.prepare(batchdata)
                rows = [row for row, sample_id in enumerate(batch.sample_ids) if sample_id in sample_ids]
                if rows:
                    found += self._examples(batch.select(rows), level)
        return found

    def prepare(self, batchdata: dict) -> ScanBatch:
        """A batch as the attacks take it.

        Raises:
            ValueError: when it has no labels or ids.
        """
        prepared = self.prepare_batch(batchdata, self.device)
        batch = evaluation_batch(batchdata, prepared, self.inferer, self.network)
        return ScanBatch(**vars(batch), spacings=_spacings(prepared[0]))

    def _records(self, batch: ScanBatch, levels: list[float]) -> list[ScanRecord]:
        try:
            return self._attacked(batch, levels)
        except SampleError as error:
            raise error.named(batch.sample_ids) from None

    def _attacked(self, batch: ScanBatch, levels: list[float]) -> list[ScanRecord]:
        start = self._worst(batch)
        worst = start.copy()
        history = [self._scores(start.logits, batch)]
        after = {name: [self._mean_dice(start.logits, batch)] for name in self.attacks}
        for level in levels[1:]:
            streams = per_sample_generators(f"{self.seed}/{level}", batch.sample_ids, self.device)
            for name, attack in self.attacks.items():
                self._attack(attack, batch, level, streams, worst)
                after[name].append(self._mean_dice(worst.logits, batch))
            history.append(self._scores(worst.logits, batch))
        return [
            ScanRecord(
                sample_id,
                [scores[row] for scores in history],
                {name: [dice[row] for dice in values] for name, values in after.items()},
                batch.patients[row],
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _worst(self, batch: ScanBatch) -> _WorstScan:
        check_finite(batch.image, "an image")
        logits = self._logits(batch.predict, batch.image, batch.label)
        lowest = self.criterion.score(logits, batch.label)
        if lowest.isnan().any():
            raise SampleError(int(lowest.isnan().nonzero()[0]), "has a label without foreground, expected some.")
        return _WorstScan(batch.image.clone(), logits, lowest)

    def _attack(
        self, attack: Attack, batch: ScanBatch, level: float, streams: list[torch.Generator], worst: _WorstScan
    ) -> None:
        found = attack(batch.predict, batch.image, batch.label, level, streams).image
        logits = self._logits(batch.predict, found, batch.label)
        score = self.criterion.score(logits, batch.label)
        worse = (score < worst.score).nonzero().squeeze(1)
        worst.image[worse], worst.score[worse], worst.logits[worse] = found[worse], score[worse], logits[worse]

    def _examples(self, batch: ScanBatch, level: float) -> list[ScanExample]:
        start = self._worst(batch)
        worst = start.copy()
        streams = per_sample_generators(f"{self.seed}/{level}", batch.sample_ids, self.device)
        for attack in self.attacks.values():
            self._attack(attack, batch, level, streams, worst)
        dice = [self._mean_dice(logits, batch) for logits in (start.logits, worst.logits)]
        maps = (self._label_maps(start.logits, batch.label), self._maps(start.logits), self._maps(worst.logits))
        return [
            ScanExample(
                sample_id,
                level,
                dice[0][row],
                dice[1][row],
                batch.image[row].cpu(),
                worst.image[row].cpu(),
                *(self._index(own[row]) for own in maps),
            )
            for row, sample_id in enumerate(batch.sample_ids)
        ]

    def _mean_dice(self, logits: torch.Tensor, batch: ScanBatch) -> list[float]:
        return [_mean(dice) for dice in self._dice.scores_by_class(logits, batch.label).tolist()]

    def _logits(self, forward: Predictor, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = convert_to_tensor(first_head(first_output(forward(image)), label), track_meta=False)
        check_finite(logits, "a prediction")
        return logits

    def _maps(self, logits: torch.Tensor) -> torch.Tensor:
        return prediction_maps(logits, self.criterion.sigmoid)

    def _label_maps(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return label_maps(label, logits.shape[1], self.criterion.sigmoid)

    def _index(self, maps: torch.Tensor) -> torch.Tensor:
        """Class indices of maps ``[K, *spatial]`` for a picture; of overlapping channels the last one is shown."""
        classes = torch.arange(len(maps), device=maps.device) + (1 if self.criterion.sigmoid else 0)
        return (maps * classes.view(-1, *([1] * (maps.ndim - 1)))).amax(dim=0).cpu()

    def _scores(self, logits: torch.Tensor, batch: ScanBatch) -> list[Scores]:
        first = 0 if self.criterion.include_background else 1
        prediction = self._maps(logits)[:, first:].cpu()
        target = self._label_maps(logits, batch.label)[:, first:].cpu()
        dice = self._dice.scores_by_class(logits, batch.label)
        scores = []
        for row, spacing in enumerate(batch.spacings):
            one, other = prediction[row : row + 1], target[row : row + 1]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="the (ground truth|prediction) of class")
                warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
                tolerances = [self.tolerance] * target.shape[1]
                surface = compute_surface_dice(one, other, tolerances, include_background=True, spacing=spacing)
                distance = compute_hausdorff_distance(
                    one, other, include_background=True, percentile=95, spacing=spacing
                )
            present = other[0].flatten(1).any(dim=1).tolist()
            metrics = (dice[row], surface[0].nan_to_num(0.0), distance[0])
            scores.append(Scores(*(_defined(values.tolist(), present) for values in metrics)))
        return scores


@dataclass(frozen=True)
class ScanBatch(EvaluationBatch):
    """A batch of scans as the attacks take it.

    Attributes:
        spacings: size of a voxel along each axis, of every scan.
    """

    spacings: list[list[float]]


@dataclass(frozen=True)
class _WorstScan:
    """The worst image known of every scan, its logits and its score."""

    image: torch.Tensor
    logits: torch.Tensor
    score: torch.Tensor

    def copy(self) -> _WorstScan:
        return _WorstScan(self.image.clone(), self.logits.clone(), self.score.clone())


def _defined(values: list[float], present: list[bool]) -> list[float | None]:
    return [value if here and math.isfinite(value) else None for value, here in zip(values, present, strict=True)]


def _spacings(image: torch.Tensor) -> list[list[float]]:
    """Size of a voxel along each axis of every scan, 1 where the image does not know it."""
    axes = image.ndim - 2
    if not isinstance(image, MetaTensor):
        return [[1.0] * axes for _ in image]
    return [[float(v) for v in np.asarray(scan.pixdim)[:axes]] for scan in decollate_batch(image)]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
