"""``evaluate --checks`` and ``--crosscheck``: on some of the samples, at one of the levels that were measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from monai_ima.attacks import attack_mode
from monai_ima.criteria import SegmentationCriterion
from monai_ima.engines import CheckResult, EvaluationBatch, RobustnessChecks, evaluation_batch
from monai_ima.inferers import gradient_inferer
from monai_ima.weights import fit_weights, load_weights

from .crosscheck import CrosscheckRow, crosscheck_classifier, crosscheck_segmentation
from .load import OpenBundle
from .run_folder import CHECKS, append_lines, read_lines

__all__ = ["check_bundle", "crosscheck_bundle"]

MOST_SAMPLES, MOST_SCANS = 100, 4


def check_bundle(
    folder: Path, opened: OpenBundle, settings: dict[str, Any], content: dict[str, Any], transfer_from: str | None
) -> list[dict[str, Any]]:
    """The checks against false robustness, for results.json.

    Args:
        folder: keeps each result as it comes; those of a broken-off evaluation are taken from it.
        opened: the bundle.
        settings: of the evaluation.
        content: of results.json; the level above 0 is taken whose score is nearest to half of the one without noise.
        transfer_from: weights of another model of the same network; None for none.
    """
    eps = _middle_level(content)
    checks = RobustnessChecks(
        opened.network,
        _samples(opened, content["data"]["samples"]),
        list(opened.attacks(settings["attack"], settings["norm"]).values()),
        eps,
        settings["eot"],
        settings["seed"],
    )
    done = [CheckResult(**line) for line in read_lines(folder / CHECKS)]
    append = append_lines(folder / CHECKS)
    other = None if transfer_from is None else _other(opened, transfer_from)
    found = checks.run(other, done, lambda result: append([result.as_dict()]))
    for check in found:
        print(f"{check.status:>8}  {check.title}: {check.says}")
    return [check.as_dict() for check in found]


def crosscheck_bundle(opened: OpenBundle, settings: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """What independent attacks find on the same samples, for results.json.

    Args:
        opened: the bundle.
        settings: of the evaluation.
        content: of results.json; the level above 0 is taken whose score is nearest to half of the one without noise.

    Raises:
        ImportError: when a classifier is to be checked and the other tools are not installed.
    """
    eps = _middle_level(content)
    batches = _samples(opened, content["data"]["samples"])
    norm, seed = settings["norm"], settings["seed"]

    inferer = gradient_inferer(opened.inferer)

    def forward(image: torch.Tensor) -> Any:
        return inferer(image, opened.network)

    with attack_mode(opened.network):
        if isinstance(opened.criterion, SegmentationCriterion):
            found = [
                crosscheck_segmentation(
                    forward, batch.image, batch.label, norm, eps, opened.bounds, opened.criterion, seed=seed
                )
                for batch in batches
            ]
            rows = _mean_rows(found, [len(batch.image) for batch in batches])
        else:
            images = torch.cat([batch.image for batch in batches])
            labels = torch.cat([batch.label for batch in batches])
            count = len(content["classes"])
            rows = crosscheck_classifier(forward, images, labels, norm, eps, opened.bounds, count, seed=seed)
    for row in rows:
        print(f"{'agrees' if row.agrees else 'DIFFERS':>8}  {row.by}: {row.theirs:.3f}, ours {row.ours:.3f}")
    samples = sum(len(batch.image) for batch in batches)
    return {"epsilon": eps, "samples": samples, "rows": [row.as_dict() for row in rows]}


def _mean_rows(found: list[list[CrosscheckRow]], sizes: list[int]) -> list[CrosscheckRow]:
    """One row for each attack: the mean over batches of scans, whose sizes may differ."""
    rows = []
    for same in zip(*found, strict=True):
        theirs, ours = (
            sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)
            for values in ([row.theirs for row in same], [row.ours for row in same])
        )
        rows.append(CrosscheckRow.compare(same[0].by, theirs, ours))
    return rows


def _middle_level(content: dict[str, Any]) -> float:
    levels, values = content["levels"], content["attacks"][-1]["values"]
    return float(min(zip(levels[1:], values[1:], strict=True), key=lambda pair: abs(pair[1] - values[0] / 2))[0])


def _samples(opened: OpenBundle, total: int) -> list[EvaluationBatch]:
    """Samples spread evenly over the data, which are often sorted by class."""
    most = MOST_SCANS if opened.segments else MOST_SAMPLES
    wanted = {k * total // most for k in range(most)}
    inferer = gradient_inferer(opened.inferer)
    found, seen = [], 0
    for batchdata in opened.data_loader:
        prepared = opened.prepare_batch(batchdata, opened.device)
        batch = evaluation_batch(batchdata, prepared, inferer, opened.network)
        rows = [row for row in range(len(batch.image)) if seen + row in wanted]
        seen += len(batch.image)
        if rows:
            found.append(batch.select(rows))
    return found


def _other(opened: OpenBundle, checkpoint: str | Path) -> Callable[[torch.Tensor], Any]:
    network = copy.deepcopy(opened.network)
    fit_weights(network, load_weights(checkpoint), checkpoint)
    network.eval()
    inferer = gradient_inferer(opened.inferer)
    return lambda image: inferer(image, network)
