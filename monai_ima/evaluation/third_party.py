"""A second opinion on robustness figures, by attacks that are not ours.

Classifiers: the Adversarial Robustness Toolbox (ART) and foolbox. Segmentations, for which these have nothing: a
brute-force search written here, apart from :mod:`monai_ima.attacks`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from monai_ima.attacks import attack_from_name, attack_mode
from monai_ima.criteria import ClassificationCriterion, DiceCriterion, SegmentationCriterion
from monai_ima.utils.checks import check_bounds, check_count, check_fraction, check_positive
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.label_maps import first_head, label_maps
from monai_ima.utils.tensors import first_output

__all__ = ["CLASSIFIER_ATTACKS", "CrosscheckRow", "crosscheck_classifier", "crosscheck_segmentation", "strongest"]

Network = Callable[[torch.Tensor], Any]

POINT = 0.01
"""How far ours may lie above theirs."""
SLACK = 1e-4
"""Relative rounding error with which another tool's image may leave ball and bounds."""
STEPS, STEP = 100, 0.04
"""Steps of plain projected gradient, and their length in ε: the defaults of :class:`monai_ima.attacks.PGD`."""
STRONGEST_SEGMENTATION = "pgd100x2+pgd100x2-dice+pgd100x2-ce"
SQUARE_QUERIES, SQUARE_SIZE = 5000, 16
"""Of the Square attack inside AutoAttack; its own arithmetic fails on images of fewer pixels a side."""
SEARCH_STEPS, SEARCH_LENGTHS = 50, (0.25, 0.1, 0.04)
"""Of the brute-force search; lengths in ε, taken in turn by its restarts."""


@dataclass(frozen=True)
class CrosscheckRow:
    """What one other attack found, beside ours.

    Attributes:
        by: whose opinion, such as ``"ART 1.20.1 AutoAttack"``.
        theirs: robust accuracy, or mean foreground Dice, under the other attack: in [0, 1].
        ours: the same under our strongest attack.
        agrees: ours is not above theirs by more than one point (0.01): then our attack is too weak for this network.
            Theirs above ours by more than that only says that ours is the stronger one, and agrees.
    """

    by: str
    theirs: float
    ours: float
    agrees: bool

    @classmethod
    def compare(cls, by: str, theirs: float, ours: float) -> CrosscheckRow:
        """The row of two figures."""
        return cls(by, theirs, ours, ours - theirs <= POINT + 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Task:
    """A network under attack; every tensor has one row per sample.

    Attributes:
        image: ``[N, C, *spatial]``, float32 or float64, inside the bounds.
        label: int64 ``[N]``, or as segmentations have it.
        norm: ``"l2"`` or ``"linf"``.
        eps: radius, > 0.
        bounds: ``(lo, hi)``, both exact in the image's type.
        classes: K of a classifier, else 0.
        batch: samples at a time.
    """

    network: Network
    image: torch.Tensor
    label: torch.Tensor
    norm: str
    eps: float
    bounds: tuple[float, float]
    classes: int
    batch: int

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(self.image.split(self.batch), self.label.split(self.batch), strict=True)

    def inside(self, noisy: torch.Tensor) -> torch.Tensor:
        """Which noisy images are finite and in ball and bounds, up to :data:`SLACK`: bool ``[N]``."""
        flat, (lo, hi) = noisy.flatten(1), self.bounds
        slack = SLACK * (hi - lo)
        order = 2 if self.norm == "l2" else float("inf")
        length = torch.linalg.vector_norm((flat - self.image.flatten(1)).double(), ord=order, dim=1)
        within = (flat.amin(dim=1) >= lo - slack) & (flat.amax(dim=1) <= hi + slack)
        return flat.isfinite().all(dim=1) & within & (length <= (1 + SLACK) * self.eps)

    @torch.no_grad()
    def right(self, image: torch.Tensor) -> torch.Tensor:
        """Which images the network classifies as their labels say: bool ``[N]``."""
        pairs = zip(image.split(self.batch), self.label.split(self.batch), strict=True)
        criterion = ClassificationCriterion()
        return torch.cat([criterion(first_output(self.network(x)), y) for x, y in pairs])

    def robust_accuracy(self, noisy: torch.Tensor) -> float:
        """Share of the samples that are right without noise and not turned by a noisy image that is inside."""
        noisy = noisy.to(self.image)
        turned = self.inside(noisy) & ~self.right(noisy)
        return float((self.right(self.image) & ~turned).double().mean())


def strongest(norm: str, num_classes: int) -> str:
    """The name of our strongest attack on a classifier, for :func:`monai_ima.attacks.attack_from_name`."""
    parts = ["pgd100x2", "apgd100-ce"]
    return "+".join(parts + ["apgd100-dlr"] * (num_classes > 2) + ["ddn100"] * (norm == "l2"))


def crosscheck_classifier(
    network: Network,
    images: torch.Tensor,
    labels: torch.Tensor,
    norm: str,
    eps: float,
    bounds: Sequence[float] | None,
    num_classes: int,
    attacks: Sequence[str] = ("art-autoattack", "art-autopgd", "foolbox-pgd"),
    seed: int = 0,
    batch_size: int = 128,
    ours: float | None = None,
) -> list[CrosscheckRow]:
    """Robust accuracy of a classifier by other people's attacks, beside ours.

    What another tool says of its success does not count: each of its images is checked to be inside the ball and the
    bounds (up to 1e-4, relative) and classified anew. A sample that is wrong without noise counts as broken. Ours is
    the :func:`strongest` attack, counted in the same way. Weights, their ``.grad``, modes and the global random states
    are left as they were.

    Args:
        network: any callable from images to logits ``[N, K]``; of several outputs the first counts. A module is
            attacked in evaluation mode.
        images: ``[N, C, *spatial]``, float32 or float64, inside the bounds.
        labels: class indices, int ``[N]`` or ``[N, 1]``, in ``0 .. num_classes - 1``.
        norm: ``"l2"`` or ``"linf"``.
        eps: radius of the ball, > 0, in the units of ``images``.
        bounds: valid intensities ``(lo, hi)``. The other tools cannot do without: for None they are given the images'
            own range widened by ε on both sides, which no noise of this size can leave.
        num_classes: K, >= 2.
        attacks: names in :data:`CLASSIFIER_ATTACKS`:

            - ``"art-autoattack"``: APGD on cross-entropy and (K >= 3) on the difference of logits ratio, 100 steps and
              5 starts each, DeepFool, and for 2-D images of equal sides, from 16 pixels on, Square with 5000 queries
              (1 start, as in the AutoAttack paper; ART's own default of 5 would take most of the time);
            - ``"art-autopgd"``: APGD on cross-entropy, 100 steps, 5 starts;
            - ``"foolbox-pgd"``: projected gradient, 100 steps of 0.04 ε, 2 starts.
        seed: of all random starts.
        batch_size: images at a time, >= 1.
        ours: robust accuracy under our attack, in [0, 1], where an earlier row for the same arguments has it; measured
            for None.

    Returns:
        one row for each of ``attacks``. Ours above theirs by more than one point means that our attack is too weak
        here: the row does not agree. Theirs above ours means that ours is stronger: it agrees.

    Raises:
        ImportError: when ART or foolbox is not installed.
        ValueError: when an argument is not as above.
        SampleError: when a sample's image or label is not as above.
    """
    for name in attacks:
        if name not in CLASSIFIER_ATTACKS:
            raise ValueError(f"Unknown attack {name!r}, expected one of {', '.join(CLASSIFIER_ATTACKS)}.")
    classes = check_count("num_classes", num_classes, 2)
    image, limits, radius = _check_images(images, norm, eps, bounds)
    label = _check_classes(labels, image, classes)
    if ours is not None:
        ours = check_fraction("ours", ours)
    _tools()
    task = _Task(network, image, label, norm, radius, limits, classes, check_count("batch_size", batch_size, 1))
    with attack_mode(network) if isinstance(network, nn.Module) else nullcontext():
        _check_logits(task)
        if ours is None:
            ours = task.robust_accuracy(_ours(task, seed))
        rows = []
        for name in attacks:
            with _random_states(seed, image.device):
                by, noisy = CLASSIFIER_ATTACKS[name](task)
            rows.append(CrosscheckRow.compare(by, task.robust_accuracy(noisy), ours))
    return rows


def crosscheck_segmentation(
    network: Network,
    images: torch.Tensor,
    labels: torch.Tensor,
    norm: str,
    eps: float,
    bounds: Sequence[float] | None,
    criterion: SegmentationCriterion,
    restarts: int = 20,
    seed: int = 0,
) -> list[CrosscheckRow]:
    """Mean foreground Dice of a segmentation network by a brute-force search, beside our strongest attack.

    The search goes 50 steps of plain projected gradient from a random start, in turn with steps of 0.25, 0.1 and
    0.04 ε, on soft Dice, on cross-entropy and on their sum; the lowest Dice of all the points on the way counts. Ours
    is ``pgd100x2+pgd100x2-dice+pgd100x2-ce``. Scans are attacked one at a time.

    Args:
        network: any callable from images to logits ``[N, K, *spatial]``; of several outputs the first counts. A module
            is attacked in evaluation mode.
        images: ``[N, C, *spatial]``, 2-D or 3-D, float32 or float64, inside the bounds.
        labels: as ``criterion`` takes them, with foreground in each.
        norm: ``"l2"`` or ``"linf"``.
        eps: radius of the ball, > 0, in the units of ``images``.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        criterion: says whether channels overlap (sigmoid) and whether channel 0 counts; its threshold does not matter.
        restarts: random starts for each of the three losses, >= 1.
        seed: of all random starts.

    Returns:
        one row; for ``agrees`` see :class:`CrosscheckRow`.

    Raises:
        ValueError: when an argument is not as above.
        SampleError: when a sample's image or label is not as above.
    """
    if not isinstance(criterion, SegmentationCriterion):
        raise ValueError(f"Got criterion {type(criterion).__name__}, expected one for segmentations (DiceCriterion).")
    restarts = check_count("restarts", restarts, 1)
    image, limits, radius = _check_images(images, norm, eps, bounds)
    label = torch.as_tensor(labels).detach().to(image.device)
    if label.ndim == 0 or len(label) != len(image):
        raise ValueError(f"Got labels of shape {tuple(label.shape)} for {len(image)} images, expected one for each.")
    lowest = DiceCriterion("lowest", criterion.include_background, criterion.sigmoid)
    ours, theirs = [], []
    with attack_mode(network) if isinstance(network, nn.Module) else nullcontext():
        for row in range(len(image)):
            one = slice(row, row + 1)
            task = _Task(network, image[one], label[one], norm, radius, limits, 0, 1)
            try:
                judge = _Judge(task, criterion)
                noisy = attack_from_name(STRONGEST_SEGMENTATION, norm, limits, lowest)(
                    network, task.image, task.label, radius, per_sample_generators(str(seed), [str(row)], image.device)
                ).image
            except SampleError as error:
                raise SampleError(row, error.problem) from error
            draws = torch.Generator(image.device).manual_seed(seed + row)
            ours.append(judge.worst_dice(noisy))
            theirs.append(judge.worst_dice(_search(judge, restarts, draws)))
    by = f"brute force, {restarts} restarts x {len(_Judge.LOSSES)} losses"
    return [CrosscheckRow.compare(by, float(np.mean(theirs)), float(np.mean(ours)))]


def _check_images(
    images: torch.Tensor, norm: str, eps: float, bounds: Sequence[float] | None
) -> tuple[torch.Tensor, tuple[float, float], float]:
    """The images inside the bounds, the bounds as the images' type has them, and the radius."""
    if norm not in ("l2", "linf"):
        raise ValueError(f"Unknown norm {norm!r}, expected 'l2' or 'linf'.")
    radius = check_positive("eps", eps)
    image = torch.as_tensor(images).detach()
    if image.ndim < 3 or image.numel() == 0 or image.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"Got images of shape {tuple(image.shape)} and type {image.dtype}, expected float32 or float64 "
            "[N, C, *spatial] with at least one sample."
        )
    bad = ~image.flatten(1).isfinite().all(dim=1)
    if bad.any():
        raise SampleError(int(bad.nonzero()[0]), "has an image with NaN or infinity, expected finite values only.")
    given = check_bounds(bounds) or (float(image.min()) - radius, float(image.max()) + radius)
    lo, hi = (float(torch.tensor(bound, dtype=image.dtype)) for bound in given)
    flat, slack = image.flatten(1), 1e-3 * (hi - lo)
    outside = (flat.amin(dim=1) < lo - slack) | (flat.amax(dim=1) > hi + slack)
    if outside.any():
        row = int(outside.nonzero()[0])
        found = f"{float(flat[row].min()):.4g} to {float(flat[row].max()):.4g}"
        raise SampleError(row, f"has intensities {found}, expected them inside the bounds {lo:g} to {hi:g}.")
    return image.clamp(lo, hi), (lo, hi), radius


def _check_classes(labels: torch.Tensor, image: torch.Tensor, classes: int) -> torch.Tensor:
    label = torch.as_tensor(labels).detach().to(image.device)
    integer = not label.is_floating_point() and not label.is_complex() and label.dtype != torch.bool
    if label.shape not in ((len(image),), (len(image), 1)) or not integer:
        raise ValueError(
            f"Got labels of shape {tuple(label.shape)} and type {label.dtype} for {len(image)} images, expected "
            "integer class indices [N] or [N, 1]."
        )
    index = label.reshape(-1).long()
    outside = (index < 0) | (index >= classes)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise SampleError(row, f"has label {int(index[row])}, expected a class in 0..{classes - 1}.")
    return index


@torch.no_grad()
def _check_logits(task: _Task) -> None:
    shape = tuple(first_output(task.network(task.image[:1])).shape)
    if shape != (1, task.classes):
        raise ValueError(f"The network returned shape {shape} for one image, expected logits (1, {task.classes}).")


def _ours(task: _Task, seed: int) -> torch.Tensor:
    attack = attack_from_name(strongest(task.norm, task.classes), task.norm, task.bounds)
    streams = per_sample_generators(str(seed), [str(row) for row in range(len(task.image))], task.image.device)
    found, first = [], 0
    for x, y in task.batches():
        found.append(attack(task.network, x, y, task.eps, streams[first : first + len(x)]).image)
        first += len(x)
    return torch.cat(found)


def _tools() -> tuple[ModuleType, ModuleType, ModuleType]:
    """ART's attacks and estimators, and foolbox."""
    try:
        import foolbox
        from art.attacks import evasion
        from art.estimators import classification
    except ImportError as error:
        raise ImportError(
            "The Adversarial Robustness Toolbox and foolbox are needed for a second opinion: "
            "pip install 'monai-ima[crosscheck]'"
        ) from error
    return evasion, classification, foolbox


def _art(task: _Task) -> tuple[Any, dict[str, Any]]:
    """ART's classifier, and what its attacks have in common."""
    classifier = _tools()[1].PyTorchClassifier(
        model=_Classifier(task.network, task.image.dtype),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(task.image.shape[1:]),
        nb_classes=task.classes,
        clip_values=task.bounds,
        device_type="gpu" if task.image.is_cuda else "cpu",
    )
    return classifier, {"norm": 2 if task.norm == "l2" else np.inf, "eps": task.eps}


def _art_apgd(task: _Task, classifier: Any, common: dict[str, Any], loss: str) -> Any:
    return _tools()[0].AutoProjectedGradientDescent(
        estimator=classifier,
        eps_step=2 * task.eps,
        max_iter=STEPS,
        nb_random_init=5,
        batch_size=task.batch,
        loss_type=loss,
        verbose=False,
        **common,
    )


def _art_generate(attack: Any, task: _Task) -> torch.Tensor:
    return torch.from_numpy(attack.generate(task.image.cpu().numpy(), task.label.cpu().numpy()))


def _art_autoattack(task: _Task) -> tuple[str, torch.Tensor]:
    evasion = _tools()[0]
    classifier, common = _art(task)
    parts, without = [_art_apgd(task, classifier, common, "cross_entropy")], []
    if task.classes > 2:
        parts.append(_art_apgd(task, classifier, common, "difference_logits_ratio"))
    else:
        without.append("APGD-DLR")
    parts.append(
        evasion.DeepFool(
            classifier=classifier, max_iter=100, epsilon=1e-3, nb_grads=10, batch_size=task.batch, verbose=False
        )
    )
    spatial = task.image.shape[2:]
    if len(spatial) == 2 and spatial[0] == spatial[1] >= SQUARE_SIZE:
        square = evasion.SquareAttack(
            estimator=classifier, max_iter=SQUARE_QUERIES, nb_restarts=1, batch_size=task.batch, verbose=False, **common
        )
        parts.append(square)
    else:
        without.append("Square")
    attack = evasion.AutoAttack(
        estimator=classifier, eps_step=2 * task.eps, attacks=parts, batch_size=task.batch, **common
    )
    name = f"ART {version('adversarial-robustness-toolbox')} AutoAttack"
    return name + (f" without {' and '.join(without)}" if without else ""), _art_generate(attack, task)


def _art_autopgd(task: _Task) -> tuple[str, torch.Tensor]:
    attack = _art_apgd(task, *_art(task), "cross_entropy")
    return f"ART {version('adversarial-robustness-toolbox')} AutoPGD", _art_generate(attack, task)


def _foolbox_pgd(task: _Task) -> tuple[str, torch.Tensor]:
    foolbox = _tools()[2]
    kinds = {"l2": "L2ProjectedGradientDescentAttack", "linf": "LinfProjectedGradientDescentAttack"}
    attack = getattr(foolbox.attacks, kinds[task.norm])(abs_stepsize=STEP * task.eps, steps=STEPS).repeat(2)
    classifier = _Classifier(task.network, task.image.dtype).eval()
    model = foolbox.PyTorchModel(classifier, bounds=task.bounds, device=task.image.device)
    found = [attack(model, x, foolbox.criteria.Misclassification(y), epsilons=task.eps)[1] for x, y in task.batches()]
    name = f"foolbox {version('foolbox')} {'L2' if task.norm == 'l2' else 'Linf'} PGD"
    return name, torch.cat(found).detach()


CLASSIFIER_ATTACKS: dict[str, Callable[[_Task], tuple[str, torch.Tensor]]] = {
    "art-autoattack": _art_autoattack,
    "art-autopgd": _art_autopgd,
    "foolbox-pgd": _foolbox_pgd,
}
"""The other tools' attacks by name."""


class _Classifier(nn.Module):
    """Any callable as the module that the other tools ask for; its parameters are hidden from them."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self._call = lambda image: first_output(network(image.to(dtype)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return _InputGradient.apply(image, self._call)


class _InputGradient(torch.autograd.Function):
    """A forward pass whose backward pass goes to the image alone: ``.grad`` of the weights stays as it was."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, call: Network) -> torch.Tensor:
        if not ctx.needs_input_grad[0]:
            return call(image).detach()
        with torch.enable_grad():
            ctx.leaf = image.detach().requires_grad_()
            ctx.logits = call(ctx.leaf)
        return ctx.logits.detach()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.autograd.grad(ctx.logits, ctx.leaf, gradient, retain_graph=True)[0], None


@contextmanager
def _random_states(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random states, which the other tools draw from, and put them back afterwards.

    ART's Square divides by zero where a window holds no noise; its result there is NaN and never taken.
    """
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    quiet = np.errstate(divide="ignore", invalid="ignore")
    with quiet, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


class _Judge:
    """Losses and Dice of one scan, by formulas of this file's own.

    Raises:
        ValueError: when logits and label do not fit.
        SampleError: when the label's values do not, or it has no foreground.
    """

    LOSSES = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    """Weights of soft Dice and cross-entropy."""

    def __init__(self, task: _Task, criterion: SegmentationCriterion) -> None:
        self.task, self.sigmoid = task, criterion.sigmoid
        self.first = 0 if criterion.include_background else 1
        with torch.no_grad():
            channels = self.logits(task.image).shape[1]
        self.truth = label_maps(task.label, channels, criterion.sigmoid)
        if not self.truth[:, self.first :].any():
            raise SampleError(0, "has a label without foreground, expected some.")

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """``[1, K, *spatial]``."""
        return first_head(first_output(self.task.network(image)), self.task.label)

    def loss(self, logits: torch.Tensor, dice_weight: float, entropy_weight: float) -> torch.Tensor:
        """Soft Dice loss and cross-entropy, weighted: a scalar."""
        share = logits.sigmoid() if self.sigmoid else logits.softmax(dim=1)
        both = (share * self.truth)[0, self.first :].flatten(1).sum(dim=1)
        total = (share + self.truth)[0, self.first :].flatten(1).sum(dim=1)
        dice = 1 - ((2 * both + 1e-5) / (total + 1e-5)).mean()
        if self.sigmoid:
            entropy = F.binary_cross_entropy_with_logits(logits, self.truth.to(logits))
        else:
            entropy = F.cross_entropy(logits, self.truth.argmax(dim=1))
        return dice_weight * dice + entropy_weight * entropy

    def dice(self, logits: torch.Tensor) -> float:
        """Mean over the classes that count and that the label holds."""
        classes = torch.arange(logits.shape[1], device=logits.device).view(-1, *([1] * (logits.ndim - 2)))
        maps = logits[0] >= 0 if self.sigmoid else logits[0].argmax(dim=0) == classes
        scores = []
        for predicted, truth in zip(maps[self.first :], self.truth[0, self.first :].bool(), strict=True):
            if truth.any():
                scores.append(2 * int((predicted & truth).sum()) / (int(predicted.sum()) + int(truth.sum())))
        return sum(scores) / len(scores)

    @torch.no_grad()
    def worst_dice(self, noisy: torch.Tensor) -> float:
        """The lower Dice of the clean image and, where it is inside, the noisy one."""
        images = [self.task.image, noisy] if bool(self.task.inside(noisy)) else [self.task.image]
        return min(self.dice(self.logits(image)) for image in images)


def _search(judge: _Judge, restarts: int, generator: torch.Generator) -> torch.Tensor:
    """The image of the lowest Dice on all ways."""
    clean, eps, (lo, hi) = judge.task.image, judge.task.eps, judge.task.bounds

    def length(vector: torch.Tensor) -> float:
        return max(float(vector.double().norm()), 1e-300)

    def unit(gradient: torch.Tensor) -> torch.Tensor:
        if judge.task.norm == "linf":
            return gradient.sign()
        return (gradient.double() / length(gradient)).to(gradient)

    def back(noisy: torch.Tensor) -> torch.Tensor:
        noise = noisy - clean
        noise = noise.clamp(-eps, eps) if judge.task.norm == "linf" else noise * min(1.0, eps / length(noise))
        return (clean + noise).clamp(lo, hi)

    worst, lowest = clean, float("inf")
    for restart in range(restarts):
        for weights in judge.LOSSES:
            step = SEARCH_LENGTHS[restart % len(SEARCH_LENGTHS)] * eps
            start = torch.empty_like(clean).uniform_(-1, 1, generator=generator)
            noisy = back(clean + eps * (start if judge.task.norm == "linf" else unit(start)))
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
