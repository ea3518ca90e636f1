"""``evaluate --checks`` and ``--crosscheck``: on some of the samples, at one of the ε that were measured."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import attack_mode
from monai_ima.inferers import gradient_inferer
from monai_ima.results.parts import Verification
from monai_ima.results.records import CheckResult, VerificationRow
from monai_ima.results.run_folder import RecordFile
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.utils.sample_ids import common_folder
from monai_ima.utils.weights import load_network

from .attack_problem import Network
from .batch import EvaluationBatch, evaluation_batch
from .brute_force import verify_segmentation
from .gradient_masking import GradientMaskingChecks
from .loaded import LoadedBundle
from .task import Task
from .third_party import CLASSIFIER_ATTACKS, verify_classifier

__all__ = ["check_gradient_masking", "middle_level", "read_records", "spread_samples", "verify"]

CHECKS, VERIFICATION = "checks.jsonl", "crosscheck.jsonl"


def read_records(folder: Path) -> tuple[list[CheckResult], list[VerificationRow]]:
    """What an interrupted evaluation has of checks and verification.

    Raises:
        ValueError: if a file of theirs is damaged.
    """
    return RecordFile(folder / CHECKS, CheckResult).read(), RecordFile(folder / VERIFICATION, VerificationRow).read()


def check_gradient_masking(
    folder: Path, task: Task[Any, Any, Any], results: ClassificationResults | SegmentationResults
) -> list[CheckResult]:
    """The checks for gradient masking.

    Args:
        folder: keeps each result as it comes; those of an interrupted evaluation are taken from it.
        task: what is checked.
        results: of the evaluation; see :func:`middle_level`.
    """
    loaded, settings = task.loaded, task.settings
    checks = GradientMaskingChecks(
        loaded.network,
        spread_samples(loaded, [record.sample_id for record in results.samples], task.max_verified),
        list(task.attacks.values()),
        middle_level(results),
        settings.eot,
        settings.seed,
        results.pixel_size,
    )
    records = RecordFile(folder / CHECKS, CheckResult)
    other = None if settings.transfer_from is None else _other_model(loaded, settings.transfer_from)
    return checks.run(other, records.read(), lambda result: records.append([result]))


def verify(
    folder: Path, task: Task[Any, Any, Any], results: ClassificationResults | SegmentationResults
) -> Verification:
    """What independent code finds on the same samples.

    Args:
        folder: keeps what every attack (of a segmentation: every batch of scans) gave as it comes; what an interrupted
            evaluation has is taken from it.
        task: what is verified.
        results: of the evaluation; see :func:`middle_level`.

    Raises:
        ImportError: if a classifier is to be verified and the third-party tools are not installed.
    """
    loaded, eps = task.loaded, middle_level(results)
    batches = spread_samples(loaded, [record.sample_id for record in results.samples], task.max_verified)
    predict = _predictor(loaded, loaded.network)
    common: dict[str, Any] = {"norm": results.norm, "eps": eps, "bounds": loaded.bounds, "seed": task.settings.seed}
    records = RecordFile(folder / VERIFICATION, VerificationRow)
    found = records.read()

    criterion: dict[str, Any] = {"criterion": loaded.criterion}

    def scan_rows() -> Iterator[VerificationRow]:
        for batch in batches[len(found) :]:
            yield from verify_segmentation(predict, batch.image, batch.label, **common, **criterion)

    def classifier_rows() -> Iterator[VerificationRow]:
        images, labels = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("image", "label"))
        for attack in list(CLASSIFIER_ATTACKS)[len(found) :]:
            ours = found[0].ours if found else None
            classes = len(results.classes)
            yield from verify_classifier(
                predict, images, labels, num_classes=classes, attacks=[attack], ours=ours, **common
            )

    rows, total = (scan_rows(), len(batches)) if loaded.segments else (classifier_rows(), len(CLASSIFIER_ATTACKS))
    with attack_mode(loaded.network):
        for row in tqdm(rows, desc="verification", initial=len(found), total=total):
            found.append(row)
            records.append([row])
    sizes = [len(batch.image) for batch in batches]
    if loaded.segments:
        found = [_mean_row(found, sizes)]
    return Verification(epsilon=eps, samples=sum(sizes), rows=found)


def middle_level(results: Results) -> float:
    """The ε > 0 whose score is nearest to half of the clean one."""
    levels, values = results.levels, results.strongest.values
    return float(min(zip(levels[1:], values[1:], strict=True), key=lambda pair: abs(pair[1] - values[0] / 2))[0])


def spread_samples(loaded: LoadedBundle, evaluated: Sequence[str], count: int) -> list[EvaluationBatch]:
    """Samples spread evenly over the data, which are often sorted by class.

    Args:
        loaded: whose samples.
        evaluated: ids of those that were evaluated: no others are taken.
        count: how many are wanted at most.
    """
    wanted = {k * len(evaluated) // count for k in range(count)}
    known = frozenset(evaluated)
    inferer = gradient_inferer(loaded.inferer)
    root = common_folder(getattr(loaded.data_loader, "dataset", None))
    found, seen = [], 0
    for batchdata in loaded.data_loader:
        prepared = loaded.prepare_batch(batchdata, loaded.device)
        batch = evaluation_batch(batchdata, prepared, inferer, loaded.network, root)
        rows = []
        for row, sample_id in enumerate(batch.sample_ids):
            if sample_id in known:
                rows += [row] if seen in wanted else []
                seen += 1
        if rows:
            found.append(batch.select(rows))
    return found


def _mean_row(found: list[VerificationRow], sizes: list[int]) -> VerificationRow:
    """The mean over batches of scans, whose sizes may differ."""
    theirs, ours = (
        sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)
        for values in ([row.theirs for row in found], [row.ours for row in found])
    )
    return VerificationRow.compare(found[0].by, theirs, ours)


def _other_model(loaded: LoadedBundle, checkpoint: str) -> Network:
    network = copy.deepcopy(loaded.network)
    load_network(network, checkpoint)
    network.eval()
    return _predictor(loaded, network)


def _predictor(loaded: LoadedBundle, network: nn.Module) -> Network:
    inferer = gradient_inferer(loaded.inferer)
    return lambda image: inferer(image.clone(), network)
