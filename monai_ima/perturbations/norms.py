"""The p-norm balls: length, projection, steepest direction and uniform draws, all per sample.

Perturbations are ``[B, C, *spatial]`` with any number of spatial dimensions; radii are ``[B]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch

from monai_ima.utils.checks import check_choice

__all__ = ["L2", "BlockNorm", "Generators", "Linf", "Norm", "gaussian", "get_norm", "per_sample"]

Generators = torch.Generator | Sequence[torch.Generator]
"""One generator for the whole batch, or one for each of its samples."""


def per_sample(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """View ``[B]`` values so that they broadcast over ``like``, ``[B, ...]``."""
    return value.view(-1, *([1] * (like.ndim - 1)))


def gaussian(like: torch.Tensor, generator: Generators) -> torch.Tensor:
    """Standard normal noise of ``like``'s shape, type and device."""
    return _fill(torch.empty_like(like), generator, "normal_")


class Norm(ABC):
    """What an attack needs to know of a norm.

    Example:
        >>> [get_norm(name).length(torch.tensor([[3.0, -4.0]])) for name in ("l2", "linf")]
        [tensor([5.]), tensor([4.])]
    """

    name: str

    @abstractmethod
    def length(self, perturbation: torch.Tensor) -> torch.Tensor:
        """``‖v‖`` of each sample: float ``[B]``."""

    @abstractmethod
    def project(self, perturbation: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        """The nearest point to each ``v`` in the ball of its radius around 0."""

    @abstractmethod
    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        """The direction of length 1 in which a loss of this gradient rises fastest; 0 where the gradient is 0."""

    @abstractmethod
    def draw(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        """A point drawn uniformly from each ball around 0, of ``like``'s shape, type and device."""

    def draw_of_length(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        """A point drawn from each ball and moved out to its surface: of length ``radius``."""
        drawn = self.draw(like, torch.ones_like(radius), generator)
        return self.project(drawn * per_sample(radius / self.length(drawn), drawn), radius)

    def blocks(self, perturbation: torch.Tensor) -> Sequence[torch.Tensor]:
        """Views of the parts that have a direction of their own; of most norms there is one, the whole."""
        return (perturbation,)


class L2(Norm):
    """The Euclidean norm.

    Example:
        >>> L2().project(torch.tensor([[3.0, -4.0]]), torch.tensor([1.0]))
        tensor([[ 0.6000, -0.8000]])
    """

    name = "l2"

    def length(self, perturbation: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(perturbation.flatten(1), dim=1)

    def project(self, perturbation: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        length = self.length(perturbation)
        scale = torch.where(length > radius, radius / length, torch.ones_like(length))
        return perturbation * per_sample(scale, perturbation)

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        # A confident network has gradients near 1e-25 whose squares underflow: scale by the largest value first.
        largest = gradient.abs().flatten(1).amax(dim=1)
        scaled = gradient / per_sample(torch.where(largest > 0, largest, torch.ones_like(largest)), gradient)
        length = self.length(scaled)
        return scaled / per_sample(torch.where(length > 0, length, torch.ones_like(length)), gradient)

    def draw(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        direction = self.steepest(gaussian(like, generator))
        uniform = _fill(torch.empty_like(radius), generator, "uniform_")
        return direction * per_sample(radius * uniform ** (1 / like[0].numel()), like)


class Linf(Norm):
    """The largest absolute value.

    Example:
        >>> Linf().project(torch.tensor([[3.0, -4.0]]), torch.tensor([1.0]))
        tensor([[ 1., -1.]])
    """

    name = "linf"

    def length(self, perturbation: torch.Tensor) -> torch.Tensor:
        return perturbation.abs().flatten(1).amax(dim=1)

    def project(self, perturbation: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        limit = per_sample(radius, perturbation)
        return torch.minimum(torch.maximum(perturbation, -limit), limit)

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.sign()

    def draw(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        uniform = _fill(torch.empty_like(like), generator, "uniform_")
        return (2 * uniform - 1) * per_sample(radius, like)


class BlockNorm(Norm):
    """The largest of the norms of consecutive parts of a vector, ``[B, n]``.

    Args:
        norms: of the parts.
        counts: how many values each part has.

    Example:
        >>> norm = BlockNorm([L2(), Linf()], [2, 2])
        >>> norm.length(torch.tensor([[3.0, 4.0, -6.0, 0.0]]))
        tensor([6.])
        >>> norm.project(torch.tensor([[3.0, 4.0, -6.0, 0.0]]), torch.tensor([1.0]))
        tensor([[ 0.6000,  0.8000, -1.0000,  0.0000]])
    """

    name = "blocks"

    def __init__(self, norms: Sequence[Norm], counts: Sequence[int]) -> None:
        self.norms, self.counts = list(norms), list(counts)

    def blocks(self, perturbation: torch.Tensor) -> Sequence[torch.Tensor]:
        return perturbation.split(self.counts, dim=1)

    def length(self, perturbation: torch.Tensor) -> torch.Tensor:
        lengths = [norm.length(block) for norm, block in self._pairs(perturbation)]
        return torch.stack(lengths).amax(dim=0)

    def project(self, perturbation: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        return torch.cat([norm.project(block, radius) for norm, block in self._pairs(perturbation)], dim=1)

    def steepest(self, gradient: torch.Tensor) -> torch.Tensor:
        return torch.cat([norm.steepest(block) for norm, block in self._pairs(gradient)], dim=1)

    def draw(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        return torch.cat([norm.draw(block, radius, generator) for norm, block in self._pairs(like)], dim=1)

    def draw_of_length(self, like: torch.Tensor, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        return torch.cat([norm.draw_of_length(block, radius, generator) for norm, block in self._pairs(like)], dim=1)

    def _pairs(self, perturbation: torch.Tensor) -> Iterator[tuple[Norm, torch.Tensor]]:
        return zip(self.norms, self.blocks(perturbation), strict=True)


def get_norm(name: str | Norm) -> Norm:
    """The norm called ``name``, or given as itself.

    Raises:
        ValueError: when the name is neither ``"l2"`` nor ``"linf"``.
    """
    if isinstance(name, Norm):
        return name
    norms: dict[str, type[Norm]] = {"l2": L2, "linf": Linf}
    return norms[check_choice("norm", name, norms)]()


def _fill(tensor: torch.Tensor, generator: Generators, method: str) -> torch.Tensor:
    if isinstance(generator, torch.Generator):
        return getattr(tensor, method)(generator=generator)
    drawn = []
    for row, own in zip(tensor.unbind(), generator, strict=True):
        drawn.append(getattr(torch.empty_like(row, device=own.device), method)(generator=own))
    return tensor.copy_(torch.stack(drawn), non_blocking=True)
