from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
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
from monai_ima.attacks.base import check_finite
from monai_ima.criteria import DiceCriterion, SampleError, SegmentationCriterion, first_output
from monai_ima.criteria.label_maps import first_head, label_maps, prediction_maps
from monai_ima.forward import Forward, unwrap
from monai_ima.inferers import gradient_inferer
from monai_ima.sample_ids import batch_sample_ids
from monai_ima.streams import sample_streams

from .robustness import check_levels

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
    """

    sample_id: str
    scores: list[Scores]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ScanRecord:
        """The record that :meth:`as_dict` made."""
        return cls(values["sample_id"], [Scores(**scores) for scores in values["scores"]])


@dataclass(frozen=True)
class ScanExample:
    """One scan, clean and at its worst at one level.

    Attributes:
        record: of the scan.
        eps: the level.
        clean: image ``[C, *spatial]``.
        noisy: image ``[C, *spatial]``.
        label: class indices ``[*spatial]``.
        clean_prediction: class indices ``[*spatial]``.
        noisy_prediction: class indices ``[*spatial]``.
    """

    record: ScanRecord
    eps: float
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
        examples: the first scans that were evaluated, at the highest level.
    """

    levels: list[float]
    records: list[ScanRecord] = field(default_factory=list)
    examples: list[ScanExample] = field(default_factory=list)

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
        attack: what it is attacked with. Its criterion should go for the lowest score (``DiceCriterion("lowest")``):
            with a threshold the attack ends as soon as that is passed.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: None means ``SimpleInferer``.
        device: where the network is.
        seed: of the random starts.
        tolerance: of surface Dice, in mm where images know their spacing, else in voxels.

    Raises:
        ValueError: when the attack is not one on segmentations.
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack,
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        tolerance: float = 1.0,
    ) -> None:
        if not isinstance(attack.criterion, SegmentationCriterion):
            raise ValueError(
                f"Got an attack with a {type(attack.criterion).__name__}, expected one with a DiceCriterion or "
                "SurfaceDiceCriterion."
            )
        self.network = unwrap(network)
        self.attack = attack
        self.criterion: SegmentationCriterion = attack.criterion
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
        examples: int = 1,
        progress: bool = True,
    ) -> SegmentationResult:
        """Evaluate on all batches of a loader.

        Args:
            data_loader: gives batches with labels and sample ids (or image files).
            levels: radii >= 0, in the units that the network sees; 0 is added when it is missing.
            done: records of an evaluation that broke off; their scans are not evaluated again.
            on_record: called with every new record, to save it.
            examples: how many scans to keep for pictures.
            progress: show a progress bar.

        Raises:
            ValueError: when levels are not as above, a batch has no labels or ids, a label holds no foreground, or an
                id comes twice.
        """
        result = SegmentationResult(check_levels(levels), list(done))
        known = {record.sample_id for record in done}
        seen: set[str] = set()
        with attack_mode(self.network):
            for batchdata in tqdm(data_loader, desc="under attack", disable=not progress):
                self._batch(batchdata, result, known, seen, on_record, examples)
        if not result.records:
            raise ValueError("The data loader gave no samples, expected at least one.")
        return result

    @torch.no_grad()
    def _batch(
        self,
        batchdata: dict,
        result: SegmentationResult,
        known: Collection[str],
        seen: set[str],
        on_record: Callable[[ScanRecord], None] | None,
        examples: int,
    ) -> None:
        image, label, *extra = self.prepare_batch(batchdata, self.device)
        if label is None:
            raise ValueError("The batch holds no labels, expected them under 'label': an attack needs to know them.")
        sample_ids = batch_sample_ids(batchdata, image)
        for sample_id in sample_ids:
            if sample_id in seen:
                raise ValueError(f"Sample id {sample_id!r} comes twice, expected a different id for each sample.")
            seen.add(sample_id)
        rows = [row for row, sample_id in enumerate(sample_ids) if sample_id not in known]
        if not rows:
            return
        spacings = [_spacing(image, row) for row in rows]
        args, kwargs = extra if extra else ((), {})
        forward = Forward(self.inferer, self.network, len(image), tuple(args), dict(kwargs))
        index = torch.tensor(rows, device=self.device)
        clean = convert_to_tensor(image, track_meta=False)[index]
        target = convert_to_tensor(label, track_meta=False)[index]
        names = [sample_ids[row] for row in rows]
        try:
            self._scans(forward.select(index), clean, target, names, spacings, result, on_record, examples)
        except SampleError as error:
            raise error.named(names) from None

    def _scans(
        self,
        forward: Forward,
        clean: torch.Tensor,
        label: torch.Tensor,
        sample_ids: list[str],
        spacings: list[list[float]],
        result: SegmentationResult,
        on_record: Callable[[ScanRecord], None] | None,
        examples: int,
    ) -> None:
        check_finite(clean, "an image")
        logits = self._logits(forward, clean, label)
        lowest = self.criterion.score(logits, label)
        if lowest.isnan().any():
            raise SampleError(int(lowest.isnan().nonzero()[0]), "has a label without foreground, expected some.")
        first_logits, worst = logits, clean.clone()
        history = [self._scores(logits, label, spacings)]
        for level in result.levels[1:]:
            streams = sample_streams(f"{self.seed}/{level}", sample_ids, self.device)
            found = self.attack(forward, clean, label, level, streams).image
            found_logits = self._logits(forward, found, label)
            score = self.criterion.score(found_logits, label)
            worse = (score < lowest).nonzero().squeeze(1)
            worst[worse], lowest[worse] = found[worse], score[worse]
            logits = logits.clone()
            logits[worse] = found_logits[worse]
            history.append(self._scores(logits, label, spacings))
        for row, sample_id in enumerate(sample_ids):
            record = ScanRecord(sample_id, [scores[row] for scores in history])
            result.records.append(record)
            if on_record is not None:
                on_record(record)
            if len(result.examples) < examples and len(result.levels) > 1:
                maps = [
                    self._index(m[row])
                    for m in (self._label_maps(logits, label), self._maps(first_logits), self._maps(logits))
                ]
                result.examples.append(
                    ScanExample(record, result.levels[-1], clean[row].cpu(), worst[row].cpu(), *maps)
                )

    def _logits(self, forward: Forward, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
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

    def _scores(self, logits: torch.Tensor, label: torch.Tensor, spacings: list[list[float]]) -> list[Scores]:
        first = 0 if self.criterion.include_background else 1
        prediction = self._maps(logits)[:, first:].cpu()
        target = self._label_maps(logits, label)[:, first:].cpu()
        dice = self._dice.scores_by_class(logits, label)
        scores = []
        for row, spacing in enumerate(spacings):
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


def _defined(values: list[float], present: list[bool]) -> list[float | None]:
    return [value if here and math.isfinite(value) else None for value, here in zip(values, present, strict=True)]


def _spacing(image: torch.Tensor, row: int) -> list[float]:
    """Size of a voxel along each axis, 1 where the image does not know it."""
    if not isinstance(image, MetaTensor):
        return [1.0] * (image.ndim - 2)
    return [float(v) for v in np.asarray(decollate_batch(image)[row].pixdim)[: image.ndim - 2]]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
