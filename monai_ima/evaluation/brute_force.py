"""A brute-force search against segmentations, for which third-party tools have nothing: written here, with losses and
scores of its own, apart from :mod:`monai_ima.attacks`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from monai_ima.attacks import attack_from_name, attack_mode
from monai_ima.criteria import SegmentationCriterion
from monai_ima.results.records import VerificationRow
from monai_ima.utils.attack_names import STRONGEST_SEGMENTATION
from monai_ima.utils.checks import check_count
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.label_maps import first_head, target_maps
from monai_ima.utils.plain_numbers import counted
from monai_ima.utils.tensors import first_output

from .attack_problem import AttackProblem, Network, check_images

__all__ = ["verify_segmentation"]

SEARCH_STEPS, SEARCH_LENGTHS = 50, (0.25, 0.1, 0.04)
"""Lengths in ε, taken in turn by the restarts."""


def verify_segmentation(
    network: Network,
    images: torch.Tensor,
    labels: torch.Tensor,
    norm: str,
    eps: float,
    bounds: Sequence[float] | None,
    criterion: SegmentationCriterion,
    restarts: int = 20,
    seed: int = 0,
) -> list[VerificationRow]:
    """Mean foreground Dice of a segmentation network by a brute-force search, beside our strongest attack.

    The search takes 50 steps of plain projected gradient from a random start, in turn of 0.25, 0.1 and 0.04 ε, on soft
    Dice, on cross-entropy and on their sum; the lowest Dice of all iterates counts. Scans are attacked one at a time.

    Args:
        network: any callable from images to logits ``[N, K, *spatial]``; of several outputs the first counts. A module
            is attacked in evaluation mode.
        images: ``[N, C, *spatial]``, 2-D or 3-D, float32 or float64, inside the bounds.
        labels: as ``criterion`` takes them, with foreground in each.
        norm: ``"l2"`` or ``"linf"``.
        eps: perturbation budget, > 0, in the units of ``images``.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says whether channels overlap (sigmoid) and whether channel 0 counts; its threshold does not matter.
        restarts: random starts for each of the three losses, >= 1.
        seed: of all random starts.

    Returns:
        one row; for ``agrees`` see :class:`VerificationRow`.

    Raises:
        SampleError: if an image is not finite or outside the bounds, or a label has no foreground.
        ValueError: if ``criterion`` is not for segmentations, ``restarts`` < 1, ``eps`` <= 0, or shapes do not fit.
    """
    if not isinstance(criterion, SegmentationCriterion):
        raise ValueError(f"Got criterion {type(criterion).__name__}, expected one for segmentations (DiceCriterion).")
    restarts = check_count("restarts", restarts, 1)
    image, limits, radius = check_images(images, norm, eps, bounds)
    label = torch.as_tensor(labels).detach().to(image.device)
    if label.ndim == 0 or len(label) != len(image):
        raise ValueError(f"Got labels of shape {tuple(label.shape)} for {len(image)} images, expected one for each.")
    attack = attack_from_name(STRONGEST_SEGMENTATION, norm, limits, criterion.lowest_dice())
    ours, theirs = [], []
    with attack_mode(network) if isinstance(network, nn.Module) else nullcontext():
        for row in range(len(image)):
            scan = slice(row, row + 1)
            problem = AttackProblem(network, image[scan], label[scan], norm, radius, limits, 0, 1)
            try:
                judge = _Judge(problem, criterion)
                generators = per_sample_generators(str(seed), [str(row)])
                noisy = attack(network, problem.image, problem.label, radius, generators).image
            except SampleError as error:
                raise SampleError(row, error.problem) from error
            draws = torch.Generator(image.device).manual_seed(seed + row)
            ours.append(judge.worst_dice(noisy))
            theirs.append(judge.worst_dice(_search(judge, restarts, draws)))
    by = f"brute force, {counted(restarts, 'restart')} x {len(_Judge.LOSSES)} losses"
    return [VerificationRow.compare(by, float(np.mean(theirs)), float(np.mean(ours)))]


class _Judge:
    """Losses and Dice of one scan, by formulas of this file's own.

    Raises:
        SampleError: if the label's values do not fit the network's channels, or it has no foreground.
        ValueError: if the shapes of logits and label do not fit.
    """

    LOSSES = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    """Weights of soft Dice and cross-entropy."""

    def __init__(self, problem: AttackProblem, criterion: SegmentationCriterion) -> None:
        self.problem, self.sigmoid = problem, criterion.sigmoid
        self.first = 0 if criterion.include_background else 1
        with torch.no_grad():
            logits = self.logits(problem.image)
        counted = criterion.counted(logits, problem.label)
        self.truth = target_maps(problem.label, logits, criterion.sigmoid, counted)
        self.counted = torch.ones_like(self.truth) if counted is None else counted.expand_as(self.truth).to(self.truth)
        if not self.truth[:, self.first :].any():
            raise SampleError(0, "has a label without foreground, expected some.")

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """``[1, K, *spatial]``."""
        return first_head(first_output(self.problem.network(image)), self.problem.label)

    def loss(self, logits: torch.Tensor, dice_weight: float, entropy_weight: float) -> torch.Tensor:
        """Soft Dice loss and cross-entropy, weighted: a scalar."""
        share = logits.sigmoid() if self.sigmoid else logits.softmax(dim=1)
        both = (share * self.truth)[0, self.first :].flatten(1).sum(dim=1)
        total = (share * self.counted + self.truth)[0, self.first :].flatten(1).sum(dim=1)
        dice = 1 - ((2 * both + 1e-5) / (total + 1e-5)).mean()
        if self.sigmoid:
            every = F.binary_cross_entropy_with_logits(logits, self.truth.to(logits), self.counted.to(logits))
            entropy = every / self.counted.mean()
        else:
            voxels = self.counted.any(dim=1)
            entropy = F.cross_entropy(logits, self.truth.argmax(dim=1).where(voxels, -100), ignore_index=-100)
        return dice_weight * dice + entropy_weight * entropy

    def dice(self, logits: torch.Tensor) -> float:
        """Mean over the classes that count and that the label holds."""
        classes = torch.arange(logits.shape[1], device=logits.device).view(-1, *([1] * (logits.ndim - 2)))
        maps = (logits[0] >= 0 if self.sigmoid else logits[0].argmax(dim=0) == classes) & self.counted[0].bool()
        scores = []
        for predicted, truth in zip(maps[self.first :], self.truth[0, self.first :].bool(), strict=True):
            if truth.any():
                scores.append(2 * int((predicted & truth).sum()) / (int(predicted.sum()) + int(truth.sum())))
        return sum(scores) / len(scores)

    @torch.no_grad()
    def worst_dice(self, noisy: torch.Tensor) -> float:
        """The lower Dice of the clean image and, where it is inside, the noisy one."""
        images = [self.problem.image, noisy] if bool(self.problem.inside(noisy)) else [self.problem.image]
        return min(self.dice(self.logits(image)) for image in images)


def _search(judge: _Judge, restarts: int, generator: torch.Generator) -> torch.Tensor:
    """The image of the lowest Dice on all trajectories."""
    clean, eps, (lo, hi) = judge.problem.image, judge.problem.eps, judge.problem.bounds

    def length(vector: torch.Tensor) -> float:
        return max(float(vector.double().norm()), 1e-300)

    def unit(gradient: torch.Tensor) -> torch.Tensor:
        if judge.problem.norm == "linf":
            return gradient.sign()
        return (gradient.double() / length(gradient)).to(gradient)

    def back(noisy: torch.Tensor) -> torch.Tensor:
        noise = noisy - clean
        noise = noise.clamp(-eps, eps) if judge.problem.norm == "linf" else noise * min(1.0, eps / length(noise))
        return (clean + noise).clamp(lo, hi)

    worst, lowest = clean, float("inf")
    for restart in range(restarts):
        for weights in judge.LOSSES:
            step = SEARCH_LENGTHS[restart % len(SEARCH_LENGTHS)] * eps
            start = torch.empty_like(clean).uniform_(-1, 1, generator=generator)
            noisy = back(clean + eps * (start if judge.problem.norm == "linf" else unit(start)))
            for k in range(SEARCH_STEPS + 1):
                leaf = noisy.detach().requires_grad_()
                with torch.enable_grad():
                    logits = judge.logits(leaf)
                    (gradient,) = torch.autograd.grad(judge.loss(logits, *weights), leaf)
                score = judge.dice(logits.detach())
                if score < lowest:
                    worst, lowest = noisy, score
                if k < SEARCH_STEPS:
                    noisy = back(noisy + step * unit(gradient))
    return worst
