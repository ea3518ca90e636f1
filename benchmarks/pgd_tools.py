"""The same L2 attack by other libraries: random starts in the ball, from each as many steps of one length in [0, 1].

A library is imported by the function that needs it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

PACKAGES = {"art": "adversarial-robustness-toolbox", "foolbox": "foolbox", "torchattacks": "torchattacks"}
"""The packages of the libraries."""
TITLES = {"ours": "ours", "art": "ART", "foolbox": "foolbox", "torchattacks": "torchattacks"}

Run = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From images ``[N, 1, 28, 28]`` and labels ``[N]`` to noisy images."""


def by_batches(run: Run, batch: int) -> Run:
    """Make it so many images at a time."""

    def whole(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.cat([run(x, y) for x, y in zip(image.split(batch), label.split(batch), strict=True)])

    return whole


def _art(network: nn.Module, eps: float, steps: int, step: float, restarts: int, batch: int) -> Run:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier,
        norm=2,
        eps=eps,
        eps_step=step,
        max_iter=steps,
        num_random_init=restarts,
        batch_size=batch,
        verbose=False,
    )
    return lambda image, label: torch.from_numpy(attack.generate(image.numpy(), label.numpy()))


def _foolbox(network: nn.Module, eps: float, steps: int, step: float, restarts: int, batch: int) -> Run:
    import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0.0, 1.0), device="cpu")
    attack = foolbox.attacks.L2ProjectedGradientDescentAttack(abs_stepsize=step, steps=steps).repeat(restarts)
    return by_batches(lambda x, y: attack(model, x, y, epsilons=eps)[1], batch)


def _torchattacks(network: nn.Module, eps: float, steps: int, step: float, restarts: int, batch: int) -> Run:
    import torchattacks

    paths = [torchattacks.PGDL2(network, eps=eps, alpha=step, steps=steps) for _ in range(restarts)]
    return by_batches(torchattacks.MultiAttack(paths), batch)


TOOLS: dict[str, Callable[[nn.Module, float, int, float, int, int], Run]] = {
    "foolbox": _foolbox,
    "torchattacks": _torchattacks,
    "art": _art,
}
"""``(network, eps, steps, step, restarts, batch) -> Run``, the step in the units of ε."""
