"""What evaluators of every task have in common: the loop over a data loader, which resumes an interrupted one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any, ClassVar, Generic, Self, TypedDict, TypeVar

import torch
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import Attack, attack_mode
from monai_ima.attacks.channels import attacked_channels
from monai_ima.criteria import Criterion
from monai_ima.results.base import Part
from monai_ima.results.perturbed import PerturbedSample
from monai_ima.results.records import SampleRecord, ScanRecord
from monai_ima.results.settings import check_levels
from monai_ima.utils.checks import check_instance, check_seed
from monai_ima.utils.devices import check_device
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.label_maps import FractionWarning
from monai_ima.utils.outputs import Output
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.progress import Progress
from monai_ima.utils.sample_ids import common_folder

from .batch import EvaluationBatch, check_any, evaluation_batch, named_attacks, note_ids, one_output
from .loaded import LoadedBundle
from .share import Share

__all__ = ["EvaluatorSettings", "OnStage", "SampleEvaluator"]

Record = TypeVar("Record", SampleRecord, ScanRecord, PerturbedSample)
Outcome = TypeVar("Outcome")
Example = TypeVar("Example")


OnStage = Callable[[str, float], None]
"""Told the attack and the ε that the samples go into."""


class EvaluatorSettings(TypedDict, total=False):
    """The arguments that all evaluators share after network and attack, explained at :class:`SampleEvaluator`."""

    prepare_batch: Callable | None
    inferer: Inferer | None
    device: torch.device | str
    seed: int
    output: Output


class SampleEvaluator(ABC, Generic[Record, Outcome, Example]):
    """Attacks every sample of a data loader at rising ε.

    Args:
        network: it is attacked in evaluation mode.
        attack: what it is attacked with; several, by name, follow one another.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: None means ``SimpleInferer``.
        device: where the network is.
        seed: of the random starts, which are drawn per sample.
        output: index or key of the network's output that counts, where it returns several; None: the attack's, else
            the first.

    Raises:
        ValueError: if there is no attack, this machine has no such device, or ``output`` can name none.
        TypeError: if ``network`` is no module, or an attack no attack.
    """

    record_type: ClassVar[type[Part]]
    activity = "under attack"
    """What the progress bar says."""

    def __init__(
        self,
        network: nn.Module,
        attack: Attack | Mapping[str, Attack],
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        output: Output = None,
    ) -> None:
        self.network = unwrap(check_instance("network", network, nn.Module, "a torch.nn.Module"))
        self.attacks = named_attacks(attack)
        self.prepare_batch = default_prepare_batch if prepare_batch is None else prepare_batch
        self.inferer: Callable[..., Any] = SimpleInferer() if inferer is None else inferer
        chosen = next(iter(self.attacks.values())).output if output is None else output
        if chosen is not None:
            self.inferer, self.prepare_batch = one_output(self.inferer, self.prepare_batch, chosen)
        self.device = check_device(device)
        self.seed = check_seed(seed)
        self._warn_of_fractions = FractionWarning()
        self._root: str | None = None
        self._dimensions: int | None = None

    @classmethod
    def of_bundle(
        cls, loaded: LoadedBundle, attack: Attack | Mapping[str, Attack], seed: int = 0, **options: Any
    ) -> Self:
        """The evaluator of a bundle's network, with its data preparation and inferer.

        Args:
            loaded: the bundle.
            attack: what it is attacked with.
            seed: of the random starts.
            options: further arguments of the evaluator.
        """
        return cls(
            loaded.network,
            attack,
            prepare_batch=loaded.prepare_batch,
            inferer=loaded.inferer,
            device=loaded.device,
            seed=seed,
            **options,
        )

    @property
    def criterion(self) -> Criterion:
        """Says when a prediction is correct."""
        return next(iter(self.attacks.values())).criterion

    def run(
        self,
        data_loader: Iterable,
        levels: Sequence[float],
        progress: bool = True,
        done: Sequence[Record] = (),
        on_records: Callable[[list[Record]], None] | None = None,
        share: Share[Record] | None = None,
        samples: int | None = None,
        later: int = 0,
    ) -> Outcome:
        """Evaluate on all batches of a loader.

        Args:
            data_loader: gives batches with labels and sample ids (or image files), and patients where there are any.
            levels: ε >= 0, in the units that the network sees; 0 is added if it is missing.
            progress: show how far it is, on one line.
            done: records of an interrupted evaluation. A batch whose samples are all among them is left out; of any
                other batch every sample is attacked, for results that equal those of an uninterrupted evaluation.
            on_records: called with the records of a batch, to save them.
            share: of this process, where several attack the batches; each then has the outcome of all.
            samples: how many the loader gives, for the progress line; None: the line counts batches.
            later: how many stages (as :meth:`stages`) of later runs the remaining time includes.

        Raises:
            ValueError: if one of ``levels`` is not a finite number >= 0, a batch has no labels or ids, an id comes
                twice, or a sample cannot be attacked.
        """
        rising = check_levels(levels)
        self._root = common_folder(getattr(data_loader, "dataset", None))
        known = {record.sample_id: record for record in done}
        seen: dict[str, None] = {}
        values: dict[str, int] = {}
        processes = 1 if share is None else share.workers.size
        total, unit = (_length(data_loader), "batches") if samples is None else (samples, "samples")
        line = Progress(
            self.activity, self.stages(rising), total, unit=unit, later=later, processes=processes, shown=progress
        )
        with attack_mode(self.network), torch.no_grad(), line:
            for index, batchdata in enumerate(data_loader):
                batch = self.prepare(batchdata)
                size = 1 if samples is None else len(batch.sample_ids)
                note_ids(batch.sample_ids, seen)
                values |= dict.fromkeys(batch.sample_ids, self._attacked_part(batch.image[0]).numel())
                self._dimensions = batch.image.dim() - 2
                finished = all(sample_id in known for sample_id in batch.sample_ids)
                if finished or (share is not None and not share.claim(index)):
                    line.skip(size)
                    continue
                line.begin(size)
                try:
                    fresh = self._attacked(batch, rising, line.stage)
                except SampleError as error:
                    raise error.named(batch.sample_ids) from None
                known |= {record.sample_id: record for record in fresh}
                if on_records is not None:
                    on_records(fresh)
                if share is not None:
                    share.deliver(index)
                line.end()
        check_any(seen)
        if share is not None:
            known |= {record.sample_id: record for record in share.collect()}
        records = [known[sample_id] for sample_id in seen if sample_id in known]
        if not records:
            raise ValueError("The label of every sample is ignored, expected one that is not (ignore_index).")
        return self._outcome(rising, records, [values[record.sample_id] for record in records])

    def stages(self, levels: Sequence[float]) -> list[tuple[str, float]]:
        """What every sample goes through: an attack at an ε each, by name.

        Args:
            levels: ε, rising, the first is 0.
        """
        return [(name, eps) for eps in levels[1:] for name in self.attacks]

    def examples(self, data_loader: Iterable, levels: Mapping[str, float]) -> dict[str, Example]:
        """Some of a loader's samples, attacked once more for pictures.

        Args:
            data_loader: as for :meth:`run`.
            levels: ε > 0 by sample id.

        Returns:
            by sample id, in the loader's order; samples that cannot be drawn are missing.
        """
        found: dict[str, Example] = {}
        self._root = common_folder(getattr(data_loader, "dataset", None))
        with attack_mode(self.network), torch.no_grad():
            for batchdata in tqdm(data_loader, desc="pictures", leave=False):
                batch = self.prepare(batchdata)
                for eps in dict.fromkeys(levels[name] for name in batch.sample_ids if name in levels):
                    rows = [row for row, name in enumerate(batch.sample_ids) if levels.get(name) == eps]
                    found |= self._examples(batch.select(rows), eps)
        return found

    def prepare(self, batchdata: Any) -> EvaluationBatch:
        """A loader's batch, ready to be attacked.

        Raises:
            ValueError: if it has no labels or ids.
        """
        prepared = self.prepared(batchdata)
        return evaluation_batch(batchdata, prepared, self.inferer, self.network, self._root)

    def prepared(self, batchdata: Any) -> Any:
        """What ``prepare_batch`` makes of a batch; warns once of a label with values between two classes."""
        result = self.prepare_batch(batchdata, self.device)
        self._warn_of_fractions(result[1])
        return result

    @abstractmethod
    def scores(self, predict: Predictor, image: torch.Tensor, label: Any) -> torch.Tensor:
        """What each image counts with in results: float64 ``[B]`` on the CPU, NaN where its label does not count.

        Args:
            predict: the batch's.
            image: ``[B, C, *spatial]``.
            label: that holds for these images.
        """

    @abstractmethod
    def _attacked(self, batch: Any, levels: list[float], on_stage: OnStage) -> list[Record]:
        """One record for each sample of a batch; ``on_stage`` is called as each of :meth:`stages` begins."""

    @abstractmethod
    def _outcome(self, levels: list[float], records: list[Record], values: list[int]) -> Outcome:
        """The outcome of all records, and of each how many values of its image noise may change."""

    @abstractmethod
    def _examples(self, batch: Any, eps: float) -> dict[str, Example]:
        """The samples of a batch, attacked at one ε, by id."""

    def _shown(self, image: torch.Tensor) -> torch.Tensor:
        """What of an image ``[C, *spatial]`` is drawn, on the CPU: the channels that noise may change."""
        return self._attacked_part(image).cpu()

    def _attacked_part(self, image: torch.Tensor) -> torch.Tensor:
        """The channels of an image ``[C, *spatial]`` that noise may change."""
        return image[attacked_channels(next(iter(self.attacks.values())).channels, image[None])]

    def _generators(self, batch: EvaluationBatch, purpose: object) -> list[torch.Generator]:
        return per_sample_generators(f"{self.seed}/{purpose}", batch.sample_ids)


def _length(data_loader: Iterable) -> int | None:
    """How many batches a loader says that it gives."""
    return len(data_loader) if isinstance(data_loader, Sized) else None
