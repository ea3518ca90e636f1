"""Evaluation from Python, for networks and data that are not in a bundle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.engines import default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from monai_ima.attacks import attack_mode
from monai_ima.criteria import (
    BinaryCriterion,
    ClassificationCriterion,
    Criterion,
    SegmentationCriterion,
    check_criterion,
    criterion_of_shapes,
)
from monai_ima.results.schema import ClassificationResults, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.checks import (
    check_bool,
    check_bounds,
    check_callable,
    check_instance,
    check_names,
    check_path,
    shown,
)
from monai_ima.utils.devices import check_device
from monai_ima.utils.label_maps import first_head
from monai_ima.utils.outputs import Output, choose_label, choose_output
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.sample_ids import check_labels
from monai_ima.utils.tensors import plain
from monai_ima.utils.workers import workers_of_process_group

from .any_batches import NumberedBatches
from .loaded import LoadedBundle
from .pipeline import evaluate_loaded

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)

PASSED = "data that were passed in Python"
"""What the data are called where ``metadata`` has no ``data_source``."""


def evaluate(
    network: nn.Module | Callable[[torch.Tensor], Any],
    loader: Iterable[Any],
    levels: Sequence[float],
    norm: str = "linf",
    attack: str | None = None,
    *,
    out: str | Path,
    criterion: Criterion | None = None,
    bounds: Sequence[float] | None = None,
    prepare_batch: Callable = default_prepare_batch,
    inferer: Inferer | None = None,
    device: torch.device | str | None = None,
    classes: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    **options: Any,
) -> ClassificationResults | SegmentationResults:
    """Measure how robust a network is, as ``monai-ima evaluate`` does a bundle's, and write the same files.

    If the evaluation is interrupted, the same call resumes it. Processes of one ``torch.distributed`` group that call
    it with the same ``out`` share the samples, and each returns the same results; one that does not call it is not
    waited for. Give all of them the whole loader, without ``DistributedSampler``.

    Args:
        network: from images ``[B, C, *spatial]`` to logits; a module is attacked in evaluation mode.
        loader: gives batches, several times and in the same order: ``(image, label)``, or dictionaries with ``image``
            and ``label``, and with ``sample_id`` (or images that name their file) and ``patient`` where they are known.
            Samples without ids are numbered in the loader's order.
        levels: perturbation budgets ε >= 0, in the units of ``image``; 0 is added if it is missing.
        norm: ``"l2"`` or ``"linf"``.
        attack: names joined by ``+``; None means the task's default.
        out: folder to write to, new or of the same evaluation.
        criterion: a segmentation's, such as ``DiceCriterion("lowest")``; ``BinaryCriterion()`` for a single logit or
            independent outputs (multi-label); ``ClassificationCriterion()`` for classes, one of which is correct. Its
            ``ignore_index`` says which label counts nowhere; a classifier's samples of that label are left out. None:
            that of the shapes of the first batch's prediction and label
            (:func:`~monai_ima.criteria.criterion_of_shapes`), said in the log.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        prepare_batch: from a batch and a device to image and label, as MONAI's engines take it.
        inferer: None means ``SimpleInferer``.
        device: where the network is; None means its parameters' device, else the CPU.
        classes: their names, by index (of segmentations background first); by default numbers.
        metadata: ``name`` and ``version`` of the model; ``data_source``, what the data are called, and
            ``data_license``.
        synthetic: the samples are made by a program, and the results say so.
        options: further fields of :class:`~monai_ima.evaluation.EvaluationSettings`, such as ``seed``, ``minimum``,
            ``checks`` or ``crosscheck``.

    Raises:
        ConnectionError: if another process that shares the samples has failed or is gone.
        FileExistsError: if ``out`` holds anything but an interrupted evaluation with the same settings and weights.
        ValueError: if an argument or a sample is not as stated.
        TypeError: if an argument is of another type.

    Example:
        >>> import tempfile
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> batches = [(torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 0]))]
        >>> with tempfile.TemporaryDirectory() as out:
        ...     results = evaluate(network, batches, [0.5], "l2", "pgd10", out=out)
        >>> results.levels, len(results.accuracy), [sample.sample_id for sample in results.samples]
        ([0.0, 0.5], 2, ['0', '1', '2'])
    """
    check_callable("network", network, "a module or another callable from images to logits")
    if isinstance(loader, Iterator | str) or not isinstance(loader, Iterable):
        raise ValueError(f"Got loader {shown(loader)}, expected a list of batches or a DataLoader: it is read again.")
    check_path("out", out)
    if criterion is not None:
        check_criterion(criterion)
    check_bool("synthetic", synthetic)
    check_callable("prepare_batch", prepare_batch, "a function (batch, device) -> image and label")
    if inferer is not None:
        check_callable("inferer", inferer, "an inferer such as SimpleInferer()")
    if metadata is not None:
        check_instance("metadata", metadata, Mapping, "a dictionary")
    settings = EvaluationSettings(levels=levels, norm=norm, attack=attack, out=out, **options)
    module = network if isinstance(network, nn.Module) else _Callable(network)
    batches = NumberedBatches(loader)
    loaded = LoadedBundle(
        name=str((metadata or {}).get("name") or type(network).__name__),
        network=module,
        data_loader=batches,
        prepare_batch=batches.preparing(prepare_batch),
        inferer=SimpleInferer() if inferer is None else inferer,
        device=_device(module) if device is None else check_device(device),
        bounds=check_bounds(bounds),
        criterion=criterion,
        classes=[] if classes == () else check_names("classes", classes),
        checkpoint=None if settings.checkpoint is None else Path(settings.checkpoint),
        synthetic=synthetic,
        metadata={"data_source": PASSED, **(metadata or {})},
    )
    if criterion is None:
        loaded = replace(loaded, criterion=_criterion(loaded, settings.output))
    with workers_of_process_group(settings.folder):
        return evaluate_loaded(settings, loaded)


def _criterion(loaded: LoadedBundle, output: Output) -> Criterion | None:
    """That of the first batch's prediction and label; None without a batch."""
    for batchdata in loaded.data_loader:
        image, label, *extra = loaded.prepare_batch(batchdata, loaded.device)
        check_labels(label, batchdata, image)
        predict = Predictor.prepared(loaded.inferer, loaded.network, len(image), extra)
        with attack_mode(loaded.network), torch.no_grad():
            logits = choose_output(predict(plain(image)), output)
        label = plain(choose_label(label, output))
        if not isinstance(label, torch.Tensor):
            raise ValueError(f"Got labels {shown(label)}, expected a tensor, or else criterion=.")
        logits = first_head(logits, label) if logits.ndim > 2 else logits
        criterion = criterion_of_shapes(logits, label)
        logger.info(
            "Judged by %s: predictions %s, labels %s; criterion= says otherwise.",
            _in_words(criterion),
            list(logits.shape),
            list(label.shape),
        )
        return None if isinstance(criterion, ClassificationCriterion) else criterion
    return None


def _in_words(criterion: Criterion) -> str:
    independent = isinstance(criterion, BinaryCriterion) or getattr(criterion, "sigmoid", False)
    what = "the Dice of maps" if isinstance(criterion, SegmentationCriterion) else "the label of each sample"
    return f"{what}, outputs {'independent (sigmoid)' if independent else 'of exclusive classes (softmax)'}"


def _device(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))


class _Callable(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)
