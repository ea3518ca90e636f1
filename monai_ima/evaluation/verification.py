"""``evaluate --checks`` and ``--crosscheck``: on some of the samples, at one of the levels that were measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from monai_ima.attacks import attack_mode
from monai_ima.criteria import SegmentationCriterion
from monai_ima.inferers import gradient_inferer
from monai_ima.results.run_folder import CHECKS, CROSSCHECK, append_lines, read_lines
from monai_ima.utils.weights import fit_weights, load_weights

from . import CheckResult, EvaluationBatch, RobustnessChecks, evaluation_batch
from .loaded import LoadedBundle
from .third_party import CLASSIFIER_ATTACKS, CrosscheckRow, crosscheck_classifier, crosscheck_segmentation

__all__ = ["check_bundle", "crosscheck_bundle"]

Network = Callable[[torch.Tensor], Any]

MOST_SAMPLES, MOST_SCANS = 100, 4


def check_bundle(
    folder: Path, loaded: LoadedBundle, settings: dict[str, Any], content: dict[str, Any], transfer_from: str | None
) -> list[dict[str, Any]]:
    """The checks against false robustness, for results.json.

    Args:
        folder: keeps each result as it comes; those of a broken-off evaluation are taken from it.
        loaded: the bundle.
        settings: of the evaluation.
        content: of results.json; the level above 0 is taken whose score is nearest to half of the one without noise.
        transfer_from: weights of another model of the same network; None for none.
    """
    eps = _middle_level(content)
    checks = RobustnessChecks(
        loaded.network,
        _samples(loaded, content["data"]["samples"]),
        list(loaded.attacks(settings["attack"], settings["norm"]).values()),
        eps,
        settings["eot"],
        settings["seed"],
    )
    done = [CheckResult(**line) for line in read_lines(folder / CHECKS)]
    append = append_lines(folder / CHECKS)
    other = None if transfer_from is None else _other(loaded, transfer_from)
    found = checks.run(other, done, lambda result: append([result.as_dict()]))
    for check in found:
        print(f"{check.status:>8}  {check.title}: {check.says}")
    return [check.as_dict() for check in found]


def crosscheck_bundle(
    folder: Path, loaded: LoadedBundle, settings: dict[str, Any], content: dict[str, Any]
) -> dict[str, Any]:
    """What independent attacks find on the same samples, for results.json.

    Args:
        folder: keeps what every attack (of a segmentation: every batch of scans) gave as it comes; what a broken-off
            evaluation has is taken from it.
        loaded: the bundle.
        settings: of the evaluation.
        content: of results.json; the level above 0 is taken whose score is nearest to half of the one without noise.

    Raises:
        ImportError: when a classifier is to be checked and the other tools are not installed.
    """
    eps = _middle_level(content)
    batches = _samples(loaded, content["data"]["samples"])
    common = {"norm": settings["norm"], "eps": eps, "bounds": loaded.bounds, "seed": settings["seed"]}
    found = [CrosscheckRow(**line) for line in read_lines(folder / CROSSCHECK)]
    append = append_lines(folder / CROSSCHECK)
    inferer = gradient_inferer(loaded.inferer)

    def forward(image: torch.Tensor) -> Any:
        return inferer(image, loaded.network)

    if isinstance(loaded.criterion, SegmentationCriterion):
        total = len(batches)
        rows = _scan_rows(forward, batches[len(found) :], loaded.criterion, common)
    else:
        total = len(CLASSIFIER_ATTACKS)
        attacks = list(CLASSIFIER_ATTACKS)[len(found) :]
        ours = found[0].ours if found else None
        rows = _attack_rows(forward, batches, len(content["classes"]), attacks, ours, common)
    with attack_mode(loaded.network):
        for row in tqdm(rows, desc="cross-check", initial=len(found), total=total):
            found.append(row)
            append([row.as_dict()])
    sizes = [len(batch.image) for batch in batches]
    if loaded.segments:
        found = [_mean_row(found, sizes)]
    for row in found:
        print(f"{'agrees' if row.agrees else 'DIFFERS':>8}  {row.by}: {row.theirs:.3f}, ours {row.ours:.3f}")
    return {"epsilon": eps, "samples": sum(sizes), "rows": [row.as_dict() for row in found]}


def _scan_rows(
    forward: Network, batches: list[EvaluationBatch], criterion: SegmentationCriterion, common: dict[str, Any]
) -> Iterator[CrosscheckRow]:
    for batch in batches:
        yield from crosscheck_segmentation(forward, batch.image, batch.label, criterion=criterion, **common)


def _attack_rows(
    forward: Network,
    batches: list[EvaluationBatch],
    num_classes: int,
    attacks: list[str],
    ours: float | None,
    common: dict[str, Any],
) -> Iterator[CrosscheckRow]:
    """One row for each attack; ours is measured once."""
    images = torch.cat([batch.image for batch in batches])
    labels = torch.cat([batch.label for batch in batches])
    for attack in attacks:
        (row,) = crosscheck_classifier(
            forward, images, labels, num_classes=num_classes, attacks=[attack], ours=ours, **common
        )
        ours = row.ours
        yield row


def _mean_row(found: list[CrosscheckRow], sizes: list[int]) -> CrosscheckRow:
    """The mean over batches of scans, whose sizes may differ."""
    theirs, ours = (
        sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)
        for values in ([row.theirs for row in found], [row.ours for row in found])
    )
    return CrosscheckRow.compare(found[0].by, theirs, ours)


def _middle_level(content: dict[str, Any]) -> float:
    levels, values = content["levels"], content["attacks"][-1]["values"]
    return float(min(zip(levels[1:], values[1:], strict=True), key=lambda pair: abs(pair[1] - values[0] / 2))[0])


def _samples(loaded: LoadedBundle, total: int) -> list[EvaluationBatch]:
    """Samples spread evenly over the data, which are often sorted by class."""
    most = MOST_SCANS if loaded.segments else MOST_SAMPLES
    wanted = {k * total // most for k in range(most)}
    inferer = gradient_inferer(loaded.inferer)
    found, seen = [], 0
    for batchdata in loaded.data_loader:
        prepared = loaded.prepare_batch(batchdata, loaded.device)
        batch = evaluation_batch(batchdata, prepared, inferer, loaded.network)
        rows = [row for row in range(len(batch.image)) if seen + row in wanted]
        seen += len(batch.image)
        if rows:
            found.append(batch.select(rows))
    return found


def _other(loaded: LoadedBundle, checkpoint: str | Path) -> Network:
    network = copy.deepcopy(loaded.network)
    fit_weights(network, load_weights(checkpoint), checkpoint)
    network.eval()
    inferer = gradient_inferer(loaded.inferer)
    return lambda image: inferer(image, network)
