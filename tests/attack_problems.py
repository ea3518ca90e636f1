"""Networks and images to attack, for the tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from monai_ima.attacks import Attack, AttackResult

SHAPES = {1: (2, 17), 2: (1, 6, 7), 3: (2, 4, 3, 5)}
NORMS = ("l2", "linf")


def length(v: torch.Tensor, norm: str) -> torch.Tensor:
    flat = v.flatten(1)
    return flat.pow(2).sum(1).sqrt() if norm == "l2" else flat.abs().max(1).values


def streams(rows: Iterable[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + row) for row in rows]


def smooth_network(shape: tuple[int, ...], classes: int = 3, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 24), nn.Tanh(), nn.Linear(24, classes)).double()


def labelled_batch(network: nn.Module, shape: tuple[int, ...], batch: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0.2, 0.8] with the network's own predictions as labels."""
    torch.manual_seed(2)
    image = 0.2 + 0.6 * torch.rand(batch, *shape, dtype=torch.float64)
    return image, network(image).argmax(1)


def two_classes() -> tuple[nn.Module, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """A linear network of two classes, images, labels, and by norm the margins |w x + b| / dual norm of w."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 2)).double()
    image = torch.randn(32, 1, 4, 5, dtype=torch.float64)
    difference = network(image).diff(dim=1).squeeze(1).detach()
    w = network[1].weight.detach().diff(dim=0)
    margins = {"l2": difference.abs() / w.norm(), "linf": difference.abs() / w.abs().sum()}
    return network, image, (difference > 0).long(), margins


def fit(
    network: nn.Module,
    image: torch.Tensor,
    label: torch.Tensor,
    lr: float,
    steps: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
) -> None:
    """Train a network on one batch, with Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()


def segmentation_problem(
    spatial: tuple[int, ...] = (12, 10, 8), batch: int = 6
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of two smoothing convolutions and boxes in noise that it segments well, each to another degree."""
    torch.manual_seed(0)
    conv = nn.Conv3d if len(spatial) == 3 else nn.Conv2d
    network = nn.Sequential(conv(1, 4, 3, padding=1), nn.Tanh(), conv(4, 3, 3, padding=1))
    label = torch.zeros(batch, 1, *spatial)
    label[:, :, 2:6, 2:8] = 1
    label[:, :, 6:10, 2:8] = 2
    noise = 0.5 * torch.arange(1, batch + 1).view(-1, *[1] * (len(spatial) + 1)) / batch
    image = label + noise * torch.randn_like(label)
    fit(network, image, label[:, 0].long(), 0.02, 60)
    return network.double(), image.double(), label


class Recorder:
    """A network that keeps what it is shown."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.network = network
        self.shown: list[torch.Tensor] = []

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        self.shown.append(image.detach().clone())
        return self.network(image)

    @property
    def sizes(self) -> list[int]:
        """Of the batches."""
        return [len(shown) for shown in self.shown]


def assert_alone_as_in_the_batch(
    attack: Attack, network: nn.Module, image: torch.Tensor, label: torch.Tensor, eps: torch.Tensor, atol: float
) -> AttackResult:
    """Attack a batch, and every sample of it alone with the same random stream."""
    together = attack(network, image, label, eps, streams(range(len(image))))
    for i in range(len(image)):
        one = slice(i, i + 1)
        alone = attack(network, image[one], label[one], eps[one], streams([i]))
        torch.testing.assert_close(together.image[one], alone.image, rtol=0, atol=atol)
        assert bool(together.success[i]) == bool(alone.success)
    return together


def b_pgd_alone(network, x, y, eps, steps, halvings, norm="l2"):
    """Algorithm 3 for one sample from its clean image.

    Returns:
        the last correct point, the first point known to be misclassified (None in case 0), and the case: 0, 1, or None
        when wrong from the start.
    """
    if int(network(x).argmax(1)) != int(y):
        return x, x, None
    previous, current = x, x
    for k in range(steps + 1):
        if int(network(current).argmax(1)) != int(y):
            inside, outside = previous, current
            for _ in range(halvings):
                middle = (inside + outside) / 2
                if int(network(middle).argmax(1)) == int(y):
                    inside = middle
                else:
                    outside = middle
            return inside, outside, 1
        if k == steps:
            return current, None, 0
        leaf = current.clone().requires_grad_()
        (g,) = torch.autograd.grad(nn.functional.cross_entropy(network(leaf), y), leaf)
        v = current + 4 * eps / steps * (g / g.norm() if norm == "l2" else g.sign()) - x
        v = v * min(1.0, eps / max(float(v.norm()), 1e-30)) if norm == "l2" else v.clamp(-eps, eps)
        previous, current = current, (x + v).detach()
    raise AssertionError
