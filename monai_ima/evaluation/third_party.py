"""Third-party attacks on classifiers: the Adversarial Robustness Toolbox (ART) and foolbox, beside ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_ima.attacks import attack_from_name, attack_mode
from monai_ima.results.records import VerificationRow
from monai_ima.utils.checks import check_count, check_fraction
from monai_ima.utils.class_labels import class_indices
from monai_ima.utils.generators import kept_random_states, per_sample_generators
from monai_ima.utils.tensors import first_output

from .attack_problem import AttackProblem, Network, check_images

__all__ = ["CLASSIFIER_ATTACKS", "strongest", "verify_classifier"]

STEPS, STEP = 100, 0.04
"""Steps of plain projected gradient, and their length in ε: the defaults of :class:`monai_ima.attacks.PGD`."""
SQUARE_QUERIES, SQUARE_SIZE = 5000, 16
"""Of the Square attack inside AutoAttack; its own arithmetic fails on images of fewer pixels a side."""


def strongest(norm: str, num_classes: int) -> str:
    """The name of our strongest attack on a classifier, for :func:`monai_ima.attacks.attack_from_name`."""
    parts = ["pgd100x2", "apgd100-ce"]
    return "+".join(parts + ["apgd100-dlr"] * (num_classes > 2) + ["ddn100"] * (norm == "l2"))


def verify_classifier(
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
) -> list[VerificationRow]:
    """Robust accuracy of a classifier by third-party attacks, beside ours.

    What another tool says of its success does not count: each of its images is checked to be inside the ball and the
    bounds (up to 1e-4, relative) and classified anew. A sample whose clean image is misclassified counts as broken.
    Ours is the :func:`strongest` attack, counted in the same way. Weights, their ``.grad``, modes and the global random
    states are left as they were.

    Args:
        network: any callable from images to logits ``[N, K]``; of several outputs the first counts. A module is
            attacked in evaluation mode.
        images: ``[N, C, *spatial]``, float32 or float64, inside the bounds.
        labels: class indices, int ``[N]`` or ``[N, 1]``, in ``0 .. num_classes - 1``.
        norm: ``"l2"`` or ``"linf"``.
        eps: perturbation budget, > 0, in the units of ``images``.
        bounds: valid intensities ``(lo, hi)``. The other tools cannot do without: for None they are given the images'
            own range widened by ε on both sides, which no noise of this size can leave.
        num_classes: K, >= 2.
        attacks: names in :data:`CLASSIFIER_ATTACKS`.
        seed: of all random starts.
        batch_size: images at a time, >= 1.
        ours: robust accuracy under our attack, in [0, 1], where an earlier row for the same arguments has it; measured
            for None.

    Returns:
        one row for each of ``attacks``; for ``agrees`` see :class:`~monai_ima.results.records.VerificationRow`.

    Raises:
        ImportError: if ART or foolbox is not installed.
        SampleError: if an image is not finite or outside the bounds, or a label is not in ``0 .. num_classes - 1``.
        ValueError: if an attack is unknown, ``eps`` <= 0, ``num_classes`` < 2, ``batch_size`` < 1, ``ours`` is not in
            [0, 1], or shapes do not fit.
    """
    for name in attacks:
        if name not in CLASSIFIER_ATTACKS:
            raise ValueError(f"Unknown attack {name!r}, expected one of {', '.join(CLASSIFIER_ATTACKS)}.")
    classes = check_count("num_classes", num_classes, 2)
    image, limits, radius = check_images(images, norm, eps, bounds)
    label = _check_classes(labels, image, classes)
    if ours is not None:
        ours = check_fraction("ours", ours)
    _tools()
    problem = AttackProblem(
        network, image, label, norm, radius, limits, classes, check_count("batch_size", batch_size, 1)
    )
    with attack_mode(network) if isinstance(network, nn.Module) else nullcontext():
        _check_logits(problem)
        if ours is None:
            ours = problem.robust_accuracy(_ours(problem, seed))
        rows = []
        for name in attacks:
            with _random_states(seed, image.device):
                by, noisy = CLASSIFIER_ATTACKS[name](problem)
            rows.append(VerificationRow.compare(by, problem.robust_accuracy(noisy), ours))
    return rows


def _check_classes(labels: torch.Tensor, image: torch.Tensor, classes: int) -> torch.Tensor:
    label = torch.as_tensor(labels).detach().to(image.device)
    if len(label) != len(image):
        raise ValueError(
            f"Got labels of shape {tuple(label.shape)} and type {label.dtype} for {len(image)} images, expected one "
            "each."
        )
    return class_indices(label, classes)[0]


@torch.no_grad()
def _check_logits(problem: AttackProblem) -> None:
    shape = tuple(first_output(problem.network(problem.image[:1])).shape)
    if shape != (1, problem.classes):
        raise ValueError(f"The network returned shape {shape} for one image, expected logits (1, {problem.classes}).")


def _ours(problem: AttackProblem, seed: int) -> torch.Tensor:
    attack = attack_from_name(strongest(problem.norm, problem.classes), problem.norm, problem.bounds)
    streams = per_sample_generators(str(seed), [str(row) for row in range(len(problem.image))])
    found, first = [], 0
    for x, y in problem.batches():
        found.append(attack(problem.network, x, y, problem.eps, streams[first : first + len(x)]).image)
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
            "The Adversarial Robustness Toolbox and foolbox are needed for independent verification: "
            "pip install 'monai-ima[crosscheck]'"
        ) from error
    return evasion, classification, foolbox


def _art(problem: AttackProblem) -> tuple[Any, dict[str, Any]]:
    """ART's classifier, and what its attacks have in common."""
    classifier = _tools()[1].PyTorchClassifier(
        model=_Classifier(problem.network, problem.image.dtype),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(problem.image.shape[1:]),
        nb_classes=problem.classes,
        clip_values=problem.bounds,
        device_type="gpu" if problem.image.is_cuda else "cpu",
    )
    return classifier, {"norm": 2 if problem.norm == "l2" else np.inf, "eps": problem.eps}


def _art_apgd(problem: AttackProblem, classifier: Any, common: dict[str, Any], loss: str) -> Any:
    return _tools()[0].AutoProjectedGradientDescent(
        estimator=classifier,
        eps_step=2 * problem.eps,
        max_iter=STEPS,
        nb_random_init=5,
        batch_size=problem.batch,
        loss_type=loss,
        verbose=False,
        **common,
    )


def _art_generate(attack: Any, problem: AttackProblem) -> torch.Tensor:
    return torch.from_numpy(attack.generate(problem.image.cpu().numpy(), problem.label.cpu().numpy()))


def _art_autoattack(problem: AttackProblem) -> tuple[str, torch.Tensor]:
    evasion = _tools()[0]
    classifier, common = _art(problem)
    parts, without = [_art_apgd(problem, classifier, common, "cross_entropy")], []
    if problem.classes > 2:
        parts.append(_art_apgd(problem, classifier, common, "difference_logits_ratio"))
    else:
        without.append("APGD-DLR")
    parts.append(
        evasion.DeepFool(
            classifier=classifier, max_iter=100, epsilon=1e-3, nb_grads=10, batch_size=problem.batch, verbose=False
        )
    )
    spatial = problem.image.shape[2:]
    if len(spatial) == 2 and spatial[0] == spatial[1] >= SQUARE_SIZE:
        square = evasion.SquareAttack(
            estimator=classifier,
            max_iter=SQUARE_QUERIES,
            nb_restarts=1,
            batch_size=problem.batch,
            verbose=False,
            **common,
        )
        parts.append(square)
    else:
        without.append("Square")
    attack = evasion.AutoAttack(
        estimator=classifier, eps_step=2 * problem.eps, attacks=parts, batch_size=problem.batch, **common
    )
    name = f"ART {version('adversarial-robustness-toolbox')} AutoAttack"
    return name + (f" without {' and '.join(without)}" if without else ""), _art_generate(attack, problem)


def _art_autopgd(problem: AttackProblem) -> tuple[str, torch.Tensor]:
    attack = _art_apgd(problem, *_art(problem), "cross_entropy")
    return f"ART {version('adversarial-robustness-toolbox')} AutoPGD", _art_generate(attack, problem)


def _foolbox_pgd(problem: AttackProblem) -> tuple[str, torch.Tensor]:
    foolbox = _tools()[2]
    kinds = {"l2": "L2ProjectedGradientDescentAttack", "linf": "LinfProjectedGradientDescentAttack"}
    attack = getattr(foolbox.attacks, kinds[problem.norm])(abs_stepsize=STEP * problem.eps, steps=STEPS).repeat(2)
    classifier = _Classifier(problem.network, problem.image.dtype).eval()
    model = foolbox.PyTorchModel(classifier, bounds=problem.bounds, device=problem.image.device)
    found = [
        attack(model, x, foolbox.criteria.Misclassification(y), epsilons=problem.eps)[1] for x, y in problem.batches()
    ]
    name = f"foolbox {version('foolbox')} {'L2' if problem.norm == 'l2' else 'Linf'} PGD"
    return name, torch.cat(found).detach()


CLASSIFIER_ATTACKS: dict[str, Callable[[AttackProblem], tuple[str, torch.Tensor]]] = {
    "art-autoattack": _art_autoattack,
    "art-autopgd": _art_autopgd,
    "foolbox-pgd": _foolbox_pgd,
}
"""Third-party attacks by name:

- ``art-autoattack``: APGD on cross-entropy and (K >= 3) on the difference of logits ratio, 100 steps and 5 starts each,
  DeepFool, and for 2-D images of equal sides, from 16 pixels on, Square with 5000 queries (1 start, as in AutoAttack's
  paper; ART's own default of 5 would take most of the time);
- ``art-autopgd``: APGD on cross-entropy, 100 steps, 5 starts;
- ``foolbox-pgd``: projected gradient, 100 steps of 0.04 ε, 2 starts.
"""


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
    with np.errstate(divide="ignore", invalid="ignore"), kept_random_states(device):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
