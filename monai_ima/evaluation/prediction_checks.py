"""Checks of a network's predictions, without an attack: are they logits, and the same whenever they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from monai_ima.attacks.independence import allowed_difference, largest_difference, predicted_rows
from monai_ima.criteria import BinaryCriterion, Criterion, SegmentationCriterion
from monai_ima.results.records import CheckResult
from monai_ima.utils.label_maps import first_head
from monai_ima.utils.plain_numbers import counted, plain_number
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import first_output

from .batch import EvaluationBatch
from .check_list import CHECKS, not_run, result

__all__ = ["batch_independence", "logits", "randomness"]

SUM_TOLERANCE = 1e-2
"""How far probabilities in half precision may be from a sum of one."""
SIGMOID_SAMPLES = 10
"""Samples from which on single outputs that all lie in 0..1 are no chance; voxels of one scan are enough."""
GROUP, GROUPS = 8, 2
"""Samples that are predicted together, and how often."""
RANDOM_LAYERS = (_DropoutNd, nn.RReLU)


def logits(batches: Sequence[EvaluationBatch], criterion: Criterion) -> CheckResult:
    """Outputs are no probabilities: not all of them are in 0..1 and, over the classes, sum to one in every sample.

    Of sigmoid outputs all in 0..1 are taken for probabilities. Log-probabilities pass: softmax gives the probabilities
    back, so that cross-entropy and differences of outputs are those of the logits.

    Args:
        batches: the samples.
        criterion: says whether outputs are judged one by one (sigmoid) or against each other (softmax).
    """
    sigmoid = isinstance(criterion, BinaryCriterion) or getattr(criterion, "sigmoid", False)
    lows, highs, sums, logsums = [], [], [], []
    for batch in batches:
        output = _logits(batch, criterion).double()
        lows.append(output.amin())
        highs.append(output.amax())
        if not sigmoid:
            sums.append((output.sum(dim=1) - 1).abs().amax())
            logsums.append(output.logsumexp(dim=1).abs().amax())
    low, high = float(torch.stack(lows).amin()), float(torch.stack(highs).amax())
    count = sum(len(batch.image) for batch in batches)
    numbers = {"lowest output": low, "highest output": high}
    where = f"The outputs of {counted(count, 'sample')} lie in {plain_number(low, 3)} .. {plain_number(high, 3)}"
    if sigmoid:
        inside = low >= 0 and high <= 1
        if inside and not isinstance(criterion, SegmentationCriterion) and count < SIGMOID_SAMPLES:
            return not_run("logits", f"{where}; of fewer than {SIGMOID_SAMPLES} samples that may be chance.")
        return result("logits", not inside, count, numbers, f"{where}{': they are probabilities' * inside}.")
    apart, log_apart = float(torch.stack(sums).amax()), float(torch.stack(logsums).amax())
    probabilities = low >= -SUM_TOLERANCE and high <= 1 + SUM_TOLERANCE and apart <= SUM_TOLERANCE
    kind = " and sum to one: they are probabilities" if probabilities else ""
    if log_apart <= SUM_TOLERANCE:
        kind = ": they are log-probabilities, of which a softmax makes the same as of the logits"
    return result("logits", not probabilities, count, {**numbers, "largest |sum - 1|": apart}, f"{where}{kind}.")


def batch_independence(batches: Sequence[EvaluationBatch], passes: int = 1) -> CheckResult:
    """A sample is predicted alike alone, among others, in another order, and once more.

    Args:
        batches: the samples; batches of one sample are put together where their images have one size.
        passes: averaged passes of a random network, which never agree.
    """
    name = "batch_independence"
    groups = _groups(batches)
    apart = {"alone or in a batch": 0.0, "in another order": 0.0, "in a second call": 0.0}
    firsts = []
    with torch.no_grad():
        for predict, image in groups:
            rows = list(range(len(image)))
            first = predicted_rows(predict, image, rows)
            singles = torch.cat([predicted_rows(predict, image, [row]) for row in rows])
            backwards = predicted_rows(predict, image, rows[::-1]).flip(0)
            others = (singles, backwards, predicted_rows(predict, image, rows))
            for key, other in zip(apart, others, strict=True):
                apart[key] = max(apart[key], largest_difference(first, other))
            firsts.append(first)
    allowed = allowed_difference(firsts)
    largest = max(float(first.abs().max()) for first in firsts)
    count = sum(len(image) for _, image in groups)
    if passes > 1 and apart["in a second call"] > allowed:
        return not_run(name, f"The network is random: means of {passes} passes never agree.")
    together = max(len(image) for _, image in groups)
    if together < CHECKS[name].samples and apart["in a second call"] <= allowed:
        further = any(batch.predict.args or batch.predict.kwargs for batch in batches)
        why = "the network takes further inputs" if further else "no two have images of one size"
        return not_run(name, f"Needs 2 samples in one batch: {why}.")
    summary = ", ".join(f"{key} by {plain_number(value, 3)}" for key, value in apart.items())
    return result(
        name,
        max(apart.values()) <= allowed,
        count,
        {**apart, "largest output": largest},
        f"The outputs of {counted(count, 'sample')}, of at most {plain_number(largest, 3)}, differ {summary}.",
    )


def randomness(network: nn.Module, batch: EvaluationBatch, passes: int = 1) -> CheckResult:
    """Two passes give the same logits, or the attacks averaged over several.

    Args:
        network: whose random layers are counted.
        batch: is predicted twice.
        passes: of the network whose logits are averaged in ``forward``.
    """
    off = sum(isinstance(module, RANDOM_LAYERS) for module in network.modules())
    with torch.no_grad():
        one, two = (first_output(batch.predict(batch.image)).float() for _ in range(2))
    difference = float((one - two).abs().max())
    handled = f"; attacks and decisions use the mean of {passes} passes" if passes > 1 else ""
    layers = (
        f"{counted(off, 'random layer')} {'is' if off == 1 else 'are'} switched off in evaluation mode. " if off else ""
    )
    return result(
        "randomness",
        difference == 0 or passes > 1,
        len(batch.image),
        {"largest difference of two passes": difference, "random layers": off, "passes averaged": passes},
        f"{layers}Two passes differ by {plain_number(difference, 3)} at most{handled}.",
    )


def _logits(batch: EvaluationBatch, criterion: Criterion) -> torch.Tensor:
    with torch.no_grad():
        output = first_output(batch.predict(batch.image))
    return first_head(output, batch.label) if isinstance(criterion, SegmentationCriterion) else output


def _groups(batches: Sequence[EvaluationBatch]) -> list[tuple[Predictor, torch.Tensor]]:
    """Samples to be predicted together: the first of a batch, or two of batches of one; single ones without any."""
    several = [(batch.predict, batch.image[:GROUP]) for batch in batches if len(batch.image) > 1]
    trimmed = [(predict.select(torch.arange(len(image), device=image.device)), image) for predict, image in several]
    singles = [batch for batch in batches if len(batch.image) == 1]
    found = [*trimmed, *_pairs(singles)] or [(batch.predict, batch.image) for batch in singles]
    return found[:GROUPS]


def _pairs(singles: Sequence[EvaluationBatch]) -> Iterator[tuple[Predictor, torch.Tensor]]:
    waiting: dict[tuple[int, ...], torch.Tensor] = {}
    for batch in singles:
        if batch.predict.args or batch.predict.kwargs:
            continue
        shape = tuple(batch.image.shape)
        if shape in waiting:
            yield batch.predict, torch.cat([waiting.pop(shape), batch.image])
        else:
            waiting[shape] = batch.image
