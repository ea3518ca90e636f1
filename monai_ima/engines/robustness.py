from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_tensor
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import Attack, attack_mode
from monai_ima.attacks.base import check_finite
from monai_ima.criteria import SampleError, first_output
from monai_ima.forward import Forward, unwrap
from monai_ima.sample_ids import batch_sample_ids
from monai_ima.streams import sample_streams

__all__ = ["Example", "RobustnessEvaluator", "RobustnessResult", "SampleRecord", "check_levels"]


@dataclass(frozen=True)
class SampleRecord:
    """One sample under attack at rising levels.

    Attributes:
        sample_id: of the sample.
        label: class index.
        predicted: class predicted without noise.
        broken_at: the first level at which the prediction was wrong; 0 when it is wrong without noise, None when it
            stands at every level.
        noisy_predicted: class predicted on the image that broke it; ``predicted`` when it stands.
    """

    sample_id: str
    label: int
    predicted: int
    broken_at: float | None
    noisy_predicted: int


@dataclass(frozen=True)
class Example:
    """A clean and a noisy image, ``[C, *spatial]``, with what was predicted for them, at one level."""

    record: SampleRecord
    eps: float
    clean: torch.Tensor
    noisy: torch.Tensor


@dataclass
class RobustnessResult:
    """What an evaluation at rising levels found.

    Attributes:
        levels: radii, rising, the first is 0 (no noise).
        records: one for each sample.
        examples: one for each class, the first sample that the attack turned (else the first that stands).
    """

    levels: list[float]
    records: list[SampleRecord] = field(default_factory=list)
    examples: dict[int, Example] = field(default_factory=dict)

    def right_at(self, level: float, label: int | None = None) -> tuple[int, int]:
        """How many samples (of a class) are right at a level, and how many there are."""
        own = [record for record in self.records if label is None or record.label == label]
        return sum(record.broken_at is None or record.broken_at > level for record in own), len(own)

    def accuracy(self, label: int | None = None) -> list[float]:
        """Accuracy at every level (for a class: share of its samples that are right); NaN without samples."""
        pairs = [self.right_at(level, label) for level in self.levels]
        return [right / total if total else math.nan for right, total in pairs]


class RobustnessEvaluator:
    """Accuracy of a classifier under attack at rising levels of noise.

    A sample that is broken at one level is broken at every larger one (the noisy image that broke it lies in the larger
    ball too), so it is not attacked again. Random starts are drawn per sample: results do not depend on the batch size.

    Args:
        network: the classifier; it is attacked in evaluation mode.
        attack: what it is attacked with.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: None means ``SimpleInferer``.
        device: where the network is.
        seed: of the random starts.
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack,
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.network = unwrap(network)
        self.attack = attack
        self.prepare_batch = default_prepare_batch if prepare_batch is None else prepare_batch
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.device = torch.device(device)
        self.seed = int(seed)

    def run(self, data_loader: Iterable, levels: Sequence[float], progress: bool = True) -> RobustnessResult:
        """Evaluate on all batches of a loader.

        Args:
            data_loader: gives batches with labels and sample ids (or image files).
            levels: radii >= 0, in the units that the network sees; 0 is added when it is missing.
            progress: show a progress bar.

        Raises:
            ValueError: when levels are not as above, a batch has no labels or ids, or an id comes twice.
        """
        result = RobustnessResult(check_levels(levels))
        with attack_mode(self.network):
            for batchdata in tqdm(data_loader, desc="under attack", disable=not progress):
                self._batch(batchdata, result)
        seen: set[str] = set()
        for record in result.records:
            if record.sample_id in seen:
                raise ValueError(
                    f"Sample id {record.sample_id!r} comes twice, expected a different id for each sample."
                )
            seen.add(record.sample_id)
        if not seen:
            raise ValueError("The data loader gave no samples, expected at least one.")
        return result

    def _batch(self, batchdata: dict, result: RobustnessResult) -> None:
        image, label, *extra = self.prepare_batch(batchdata, self.device)
        if label is None:
            raise ValueError("The batch holds no labels, expected them under 'label': an attack needs to know them.")
        sample_ids = batch_sample_ids(batchdata, image)
        image, label = convert_to_tensor(image, track_meta=False), convert_to_tensor(label, track_meta=False)
        args, kwargs = extra if extra else ((), {})
        forward = Forward(self.inferer, self.network, len(image), tuple(args), dict(kwargs))
        try:
            self._levels(forward, image, label, sample_ids, result)
        except SampleError as error:
            raise error.named(sample_ids) from None

    @torch.no_grad()
    def _levels(
        self,
        forward: Forward,
        image: torch.Tensor,
        label: torch.Tensor,
        sample_ids: list[str],
        result: RobustnessResult,
    ) -> None:
        check_finite(image, "an image")
        logits = first_output(forward(image))
        predicted = logits.argmax(dim=1)
        noisy_predicted = predicted.clone()
        noisy = image.clone()
        broken_at = torch.zeros(len(label), dtype=torch.float64, device=label.device)
        broken_at[self.attack.criterion(logits, label)] = math.inf
        for level in result.levels[1:]:
            rows = broken_at.isinf().nonzero().squeeze(1)
            if len(rows) == 0:
                break
            left = forward.select(rows)
            streams = sample_streams(f"{self.seed}/{level}", [sample_ids[row] for row in rows.tolist()], self.device)
            found = self.attack(left, image[rows], label[rows], level, streams)
            noisy[rows] = found.image
            noisy_predicted[rows] = first_output(left(found.image)).argmax(dim=1)
            broken_at[rows[found.success]] = level
        for row, sample_id in enumerate(sample_ids):
            level = float(broken_at[row])
            record = SampleRecord(
                sample_id,
                int(label[row]),
                int(predicted[row]),
                None if math.isinf(level) else level,
                int(noisy_predicted[row]),
            )
            result.records.append(record)
            if level > 0 and len(result.levels) > 1:
                eps = min(level, result.levels[-1])
                self._keep_example(Example(record, eps, image[row].cpu(), noisy[row].cpu()), result)

    @staticmethod
    def _keep_example(example: Example, result: RobustnessResult) -> None:
        kept = result.examples.get(example.record.label)
        if kept is None or (kept.record.broken_at is None and example.record.broken_at is not None):
            result.examples[example.record.label] = example


def check_levels(levels: Sequence[float]) -> list[float]:
    """``levels`` in rising order without repeats, 0 first.

    Raises:
        ValueError: when one is not a finite number >= 0.
    """
    for level in levels:
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 <= level < math.inf:
            raise ValueError(f"Got level {level!r}, expected finite numbers >= 0.")
    return sorted({0.0, *(float(level) for level in levels)})
