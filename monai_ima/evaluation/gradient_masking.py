"""Checks for gradient masking: signs of masked gradients, weak attacks and randomness (Athalye et al. 2018; Carlini et
al. 2019, "On evaluating adversarial robustness")."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, wraps
from statistics import fmean
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import PGD, SPSA, Attack, AttackSettings, UniformNoise, WorstOf, attack_mode
from monai_ima.attacks.channels import FixedChannels, attacked_channels
from monai_ima.criteria import Criterion, SegmentationCriterion
from monai_ima.results.pixel_size import PixelSize
from monai_ima.results.records import CheckResult
from monai_ima.utils.checks import check_positive
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.plain_numbers import counted, plain_number
from monai_ima.utils.tensors import first_output

from . import prediction_checks
from .batch import EvaluationBatch
from .check_list import CHECKS, not_run, result

__all__ = ["GradientMaskingChecks"]

TOLERANCE = 0.02
STEPS = (20, 50, 100, 200)
RESTARTS = (1, 2, 10)
BLACK_BOX_SAMPLES = 20
FLOOR = 0.05
NO_GRADIENT = 0.02
SMALL_STEP = 0.05
RANDOM_DIRECTIONS = 10
BEST_SHARE = 0.9


def _enough_samples(check: Callable[..., CheckResult]) -> Callable[..., CheckResult]:
    """A check that is not made where fewer samples are correct than it needs."""

    @wraps(check)
    def guarded(self: GradientMaskingChecks, *arguments: Any) -> CheckResult:
        lack = CHECKS[check.__name__].lacks(sum(map(sum, self._clean)), self.segments)
        return check(self, *arguments) if lack is None else not_run(check.__name__, lack)

    return guarded


class GradientMaskingChecks:
    """Signs that a network only seems to be robust, each check passed or failed with its numbers.

    Most attack the same samples at one ε and compare mean scores: accuracy, or foreground Dice. A difference of at most
    2 points, or of the accuracy of one sample, is taken for chance. A check that has too few samples for that is not
    run; :data:`~monai_ima.evaluation.check_list.CHECKS` says how many each needs.

    Args:
        network: it is attacked in evaluation mode.
        batches: the samples; some hundred of a classifier, a few scans of a segmentation network.
        attacks: those that robustness was measured with.
        eps: perturbation budget, > 0, best one that breaks about half of the samples.
        passes: of the network whose logits are averaged in ``forward`` (expectation over transformation).
        seed: of the random draws.
        pixel_size: what ε is worth in a pixel; None where that is not known.

    Raises:
        ValueError: if there are no samples or attacks, or ``eps`` <= 0.

    Example:
        >>> from monai_ima.utils.predictor import Predictor
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> image, label = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
        >>> batch = EvaluationBatch(Predictor.of(network, 4), image, label, list("abcd"), [None] * 4)
        >>> GradientMaskingChecks(network, [batch], [PGD("linf", 5)], eps=0.1).randomness().status
        'passed'
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Sequence[EvaluationBatch],
        attacks: Sequence[Attack],
        eps: float,
        passes: int = 1,
        seed: int = 0,
        pixel_size: PixelSize | None = None,
    ) -> None:
        if not batches or not attacks:
            raise ValueError(f"Got {len(batches)} batches and {len(attacks)} attacks, expected at least one of each.")
        self.network = network
        self.batches = list(batches)
        self.attacks = list(attacks)
        self.eps = check_positive("eps", eps)
        self.passes = passes
        self.seed = seed
        self.pixel_size = pixel_size
        self.count = sum(len(batch.image) for batch in self.batches)
        self._reported: list[float] | None = None

    @property
    def criterion(self) -> Criterion:
        """Says when a prediction is correct."""
        return self.attacks[0].criterion

    @property
    def segments(self) -> bool:
        """The samples are scans, whose scores are Dice."""
        return isinstance(self.criterion, SegmentationCriterion)

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Those that noise may change; None means all."""
        return self.attacks[0].channels

    @property
    def _shared(self) -> AttackSettings:
        return {"bounds": self.attacks[0].bounds, "criterion": self.criterion, "channels": self.channels}

    def run(
        self,
        other: Callable[[torch.Tensor], Any] | None = None,
        done: Sequence[CheckResult] = (),
        on_result: Callable[[CheckResult], None] | None = None,
        progress: bool = True,
    ) -> list[CheckResult]:
        """All checks, one after the other.

        Args:
            other: another model of the same task, from images to logits; perturbations made for it must not be
                stronger here than those made for this one.
            done: results of an interrupted run; these checks are not made again.
            on_result: called with each new result as it comes.
            progress: show a progress bar.
        """
        checks: dict[str, Callable[[], CheckResult]] = {name: getattr(self, name) for name in CHECKS}
        checks["transfer"] = lambda: self.transfer(other)
        found = {check.name: check for check in done}
        with attack_mode(self.network):
            for name, check in tqdm(checks.items(), desc="checks", disable=not progress):
                if name in found:
                    continue
                found[name] = check()
                if on_result is not None:
                    on_result(found[name])
        return [found[name] for name in checks]

    def logits(self) -> CheckResult:
        """The network's outputs are no probabilities."""
        return prediction_checks.logits(self.batches, self.criterion)

    def batch_independence(self) -> CheckResult:
        """A sample is predicted alike whatever else is in its batch, and whenever it is asked for."""
        return prediction_checks.batch_independence(self.batches, self.passes)

    @_enough_samples
    def more_steps(self) -> CheckResult:
        """PGD with 20 to 200 steps: more steps never help the defence, and the attacks used are as strong as 200."""
        means = [fmean(self.scores(self._pgd(steps), self.eps)) for steps in STEPS]
        reported = fmean(self.reported())
        rise = max(later - min(means[: k + 1]) for k, later in enumerate(means[1:]))
        left = reported - means[-1]
        return result(
            "more_steps",
            rise <= self._tolerance() and left <= self._tolerance(),
            self.count,
            dict(zip([f"{steps} steps" for steps in STEPS], means, strict=True)) | {"attacks used": reported},
            f"From {STEPS[0]} to {STEPS[-1]} steps the score goes from {means[0]:.3f} to {means[-1]:.3f}; the attacks "
            f"used leave {reported:.3f}.",
        )

    @_enough_samples
    def more_restarts(self) -> CheckResult:
        """PGD from 1 to 10 starts: the attacks used are as strong as 10 restarts."""
        means = [fmean(self.scores(self._pgd(STEPS[1], restarts), self.eps)) for restarts in RESTARTS]
        reported = fmean(self.reported())
        return result(
            "more_restarts",
            reported - means[-1] <= self._tolerance() and means[-1] - means[0] <= self._tolerance(),
            self.count,
            dict(zip([counted(n, "restart") for n in RESTARTS], means, strict=True)) | {"attacks used": reported},
            f"From 1 to {RESTARTS[-1]} restarts of {STEPS[1]} steps the score goes from {means[0]:.3f} to "
            f"{means[-1]:.3f}; the attacks used leave {reported:.3f}.",
        )

    @_enough_samples
    def large_eps(self) -> CheckResult:
        """In a ball that holds a uniformly grey image for every sample no network is correct."""
        if self.channels is not None:
            summary = f"Noise may change channels {self.channels} only: the others still say something in a grey image."
            return not_run("large_eps", summary)
        lo, hi = self._range()
        half = (hi - lo) / 2
        values = self.batches[0].image[0].numel()
        eps = half * math.sqrt(values) if self.attacks[0].norm.name == "l2" else half
        mean = fmean(self.scores(self._pgd(STEPS[2]), eps))
        return result(
            "large_eps",
            mean <= max(FLOOR, self._one_sample()),
            self.count,
            {"epsilon": eps, "score": mean},
            f"At {self._named(eps)}, half of the range of intensities everywhere, the score is {mean:.3f}.",
        )

    @_enough_samples
    def black_box(self) -> CheckResult:
        """SPSA, which sees no gradients, is not stronger than the attacks used."""
        norm = self.attacks[0].norm.name
        each = math.ceil(BLACK_BOX_SAMPLES / len(self.batches))
        few = [batch.select(range(min(each, len(batch.image)))) for batch in self.batches]
        correct = sum(sum(clean[:each]) for clean in self._clean)
        lack = CHECKS["black_box"].lacks(correct, self.segments)
        if lack is not None:
            return not_run("black_box", lack)
        black_box = self.scores(SPSA(norm, 40, 64, **self._shared), self.eps, few)
        reported = iter(self.reported())
        white_box = []
        for batch in self.batches:
            white_box += [next(reported) for _ in batch.sample_ids][:each]
        gap = fmean(white_box) - fmean(black_box)
        return result(
            "black_box",
            gap <= self._tolerance(len(black_box)),
            len(black_box),
            {"SPSA": fmean(black_box), "attacks used": fmean(white_box)},
            f"On {len(black_box)} samples SPSA leaves {fmean(black_box):.3f}, the attacks used {fmean(white_box):.3f}.",
        )

    @_enough_samples
    def transfer(self, other: Callable[[torch.Tensor], Any] | None) -> CheckResult:
        """Perturbations made for another model are not stronger than those made for this one."""
        if other is None:
            return not_run("transfer", "Needs the weights of another model of the same network: --transfer_from FILE.")
        attack = self._pgd(STEPS[2])
        found = []
        for batch in self.batches:
            foreign = attack(other, batch.image, batch.label, self.eps, self._streams(batch, self.eps))
            found += self._score(batch, foreign.image)
        gap = fmean(self.reported()) - fmean(found)
        return result(
            "transfer",
            gap <= self._tolerance(),
            self.count,
            {"made for another model": fmean(found), "attacks used": fmean(self.reported())},
            f"Those of the other model leave {fmean(found):.3f}, the attacks used {fmean(self.reported()):.3f}.",
        )

    @_enough_samples
    def uniform_noise(self) -> CheckResult:
        """100 draws of uniform random noise are not stronger than the attacks used."""
        norm, bounds = self.attacks[0].norm.name, self.attacks[0].bounds
        noise = fmean(self.scores(UniformNoise(norm, 100, bounds, self.criterion, channels=self.channels), self.eps))
        reported = fmean(self.reported())
        return result(
            "uniform_noise",
            reported - noise <= self._tolerance(),
            self.count,
            {"100 draws of uniform noise": noise, "attacks used": reported},
            f"At {self._named(self.eps)} uniform random noise leaves {noise:.3f}, the attacks used {reported:.3f}.",
        )

    @_enough_samples
    def gradients(self) -> CheckResult:
        """Gradients of correctly classified samples are finite and not zero."""
        lengths = torch.cat([self._gradient(batch).flatten(1).abs().amax(dim=1).cpu() for batch in self._correct()])
        zero = float((lengths == 0).double().mean())
        wild = float((~torch.isfinite(lengths)).double().mean())
        smallest = float(lengths.min())
        return result(
            "gradients",
            wild == 0 and zero <= max(NO_GRADIENT, 1.5 / len(lengths)),
            len(lengths),
            {"share of zero gradients": zero, "share not finite": wild, "smallest largest entry": smallest},
            f"{zero:.1%} of {len(lengths)} correctly classified samples have a gradient of exactly zero, {wild:.1%} "
            "one with NaN or infinity.",
        )

    @_enough_samples
    def loss_surface(self) -> CheckResult:
        """A small step along the gradient raises the loss more than steps of the same length in random directions."""
        best, steeper = 0, 0.0
        total = 0
        norm = self.attacks[0].norm
        for batch in self._correct():
            fixed = self._fixed(batch)
            image = fixed.part
            loss, gradient = self._loss(fixed, image, batch.label), self._gradient(batch)
            radius = torch.full((len(batch.image),), SMALL_STEP * self.eps).to(image)
            along = norm.steepest(gradient.nan_to_num(0.0, 0.0, 0.0)) * radius.view(-1, *([1] * (gradient.ndim - 1)))
            rise = self._loss(fixed, image + along, batch.label) - loss
            streams = self._streams(batch, "directions")
            others = []
            for _ in range(RANDOM_DIRECTIONS):
                direction = norm.steepest(norm.draw(image, radius, streams))
                step = direction * radius.view(-1, *([1] * (gradient.ndim - 1)))
                others.append(self._loss(fixed, image + step, batch.label) - loss)
            highest = torch.stack(others).amax(dim=0)
            best += int((rise > highest).sum())
            steeper += float(rise.sum())
            total += len(rise)
        share = best / total
        return result(
            "loss_surface",
            share >= BEST_SHARE - 1.5 / total,
            total,
            {"share of samples": share, "mean rise along the gradient": steeper / total},
            f"For {share:.1%} of {total} correctly classified samples a step of {SMALL_STEP:.0%} of ε along the "
            f"gradient raises the loss more than {RANDOM_DIRECTIONS} random ones.",
        )

    def randomness(self) -> CheckResult:
        """Two passes give the same logits, or the attacks averaged over several."""
        return prediction_checks.randomness(self.network, self.batches[0], self.passes)

    def reported(self) -> list[float]:
        """The score of every sample under the attacks that robustness was measured with."""
        if self._reported is None:
            attack = self.attacks[0] if len(self.attacks) == 1 else WorstOf(self.attacks)
            self._reported = self.scores(attack, self.eps)
        return self._reported

    def scores(self, attack: Attack, eps: float, batches: Sequence[EvaluationBatch] | None = None) -> list[float]:
        """The score of every sample at the worst image that an attack finds: 0 or 1, or mean foreground Dice."""
        found = []
        for batch in self.batches if batches is None else batches:
            outcome = attack(batch.predict, batch.image, batch.label, eps, self._streams(batch, eps))
            if self.segments:
                found += self._score(batch, outcome.image)
            else:
                found += (~outcome.success).double().tolist()
        return found

    def _score(self, batch: EvaluationBatch, image: torch.Tensor) -> list[float]:
        with torch.no_grad():
            score = self.criterion.score(first_output(batch.predict(image)), batch.label)
        if self.segments:
            return score.double().tolist()
        return self.criterion.decide(score).double().tolist()

    def _named(self, eps: float) -> str:
        size = self.pixel_size.text(eps) if self.pixel_size is not None else ""
        return f"ε = {plain_number(eps, 3)}" + (f" ({size})" if size else "")

    def _pgd(self, steps: int, restarts: int = 1) -> PGD:
        first = self.attacks[0]
        return PGD(first.norm.name, steps, restarts, **self._shared)

    def _streams(self, batch: EvaluationBatch, key: Any) -> list[torch.Generator]:
        return per_sample_generators(f"{self.seed}/{key}", batch.sample_ids)

    def _range(self) -> tuple[float, float]:
        bounds = self.attacks[0].bounds
        if bounds is not None:
            return bounds
        images = [batch.image for batch in self.batches]
        return min(float(image.min()) for image in images), max(float(image.max()) for image in images)

    @cached_property
    def _clean(self) -> list[list[bool]]:
        """Which samples of each batch are correct without an attack."""
        with torch.no_grad():
            scores = [
                self.criterion.score(first_output(batch.predict(batch.image)), batch.label) for batch in self.batches
            ]
        return [self.criterion.decide(score).tolist() for score in scores]

    def _correct(self) -> Iterator[EvaluationBatch]:
        for batch, clean in zip(self.batches, self._clean, strict=True):
            rows = [row for row, correct in enumerate(clean) if correct]
            if rows:
                yield batch.select(rows)

    def _fixed(self, batch: EvaluationBatch) -> FixedChannels:
        return FixedChannels(batch.predict, batch.image, attacked_channels(self.channels, batch.image))

    def _loss(self, predict: FixedChannels, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        # The loss of a confident prediction is below what float32 can tell from 0.
        with torch.no_grad():
            return self.criterion.loss(first_output(predict(image)).double(), label)

    def _gradient(self, batch: EvaluationBatch) -> torch.Tensor:
        """Of the loss, with respect to the channels that noise may change."""
        fixed = self._fixed(batch)
        image = fixed.part.requires_grad_()
        with torch.enable_grad():
            loss = self.criterion.loss(first_output(fixed(image)), batch.label)
            (gradient,) = torch.autograd.grad(loss.sum(), image)
        return gradient

    def _tolerance(self, count: int | None = None) -> float:
        return max(TOLERANCE, self._one_sample(count))

    def _one_sample(self, count: int | None = None) -> float:
        """What one sample more or less, and no second one, changes a mean by; Dice does not jump from 1 to 0."""
        return 0.0 if self.segments else 1.5 / (count or self.count)
