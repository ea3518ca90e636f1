from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy

import torch

from monai_ima.utils.checks import check_positive, shown

from .base import Constants, Perturbation
from .norms import BlockNorm, Norm

__all__ = ["Chain"]


class Chain(Perturbation):
    """Several perturbations one after the other, with one radius; exported as ``Compose``.

    (MONAI's config parser looks classes up by their names alone, so that a second ``Compose`` would stand in the way of
    MONAI's own.)

    Of size ε each part may be as large as ε times its own radius, in its own unit: ``Compose([BiasField(),
    NoiseLevel()], [30, 5])`` of size 0.5 has a bias field of at most 15 % and noise of at most 2.5 %. The chain is
    AdvChain's (Chen et al. 2022, Med. Image Anal. 82); what a part takes from the image (range, floor, pattern) it
    takes from the clean one; links of noise have patterns of their own.

    Args:
        parts: at least one, in the order in which they are applied.
        radii: of each part at ε = 1, in its unit, > 0.

    Raises:
        TypeError: if a part is no perturbation.
        ValueError: if there is not one radius > 0 for each part.

    Example:
        >>> from monai_ima.perturbations import Compose, Gain, IntensityShift
        >>> chain = Compose([Gain(), IntensityShift()], [20, 10])
        >>> chain.apply(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.5, 1.0, 0.0]]))  # 10 % gain, 10 % of the range
        tensor([[[0.1000, 1.2000]]])
        >>> chain.describe(0.5)
        'gain 10 %, brightness and contrast 5 %'
    """

    name, title, unit = "compose", "a chain of perturbations", "of the radii"
    levels = (0.25, 0.5, 1.0)

    def __init__(self, parts: Sequence[Perturbation], radii: Sequence[float]) -> None:
        if not isinstance(parts, Sequence) or not all(isinstance(part, Perturbation) for part in parts):
            raise TypeError(f"Got parts {shown(parts)}, expected a list of perturbations.")
        if not parts or not isinstance(radii, Sequence) or len(radii) != len(parts):
            raise ValueError(f"Got {len(parts)} parts and radii {shown(radii)}, expected one radius for each part.")
        self.parts = tuple(_with_streams(parts))
        self.radii = tuple(check_positive("radius", radius) for radius in radii)
        self.geometric = any(part.geometric for part in parts)  # type: ignore[misc]
        super().__init__()

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (sum(self._counts(image)),)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {
            f"{k}.{name}": value
            for k, part in enumerate(self.parts)
            for name, value in part.constants(image, spacing).items()
        }

    def norm_of(self, image: torch.Tensor) -> Norm:
        return BlockNorm([part.norm_of(image) for part in self.parts], self._counts(image))

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        total = torch.zeros_like(image)
        for k, (part, own) in enumerate(zip(self.parts, self._split(image, theta), strict=True)):
            total = total + part.change(image + total, own, _of(constants, k))
        return total

    def change_label(self, label: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        for k, (part, own) in enumerate(zip(self.parts, self._split(label, theta), strict=True)):
            if part.geometric:
                label = part.change_label(label, own, _of(constants, k))
        return label

    def describe(self, eps: float) -> str:
        """The largest size of each part at ε, in words."""
        sizes = zip(self.parts, self.radii, strict=True)
        return ", ".join(f"{part.title} {eps * radius:g} {part.unit}" for part, radius in sizes)

    @property
    def label(self) -> str:
        return f"share of {self.describe(1.0)}"

    def _counts(self, image: torch.Tensor) -> list[int]:
        return [int(torch.Size(part.shape(image)).numel()) for part in self.parts]

    def _split(self, image: torch.Tensor, theta: torch.Tensor) -> list[torch.Tensor]:
        blocks = theta.split(self._counts(image), dim=1)
        return [
            radius * block.reshape(len(block), *part.shape(image))
            for part, radius, block in zip(self.parts, self.radii, blocks, strict=True)
        ]


def _with_streams(parts: Sequence[Perturbation]) -> Iterator[Perturbation]:
    """The parts, of which those with random patterns take different ones."""
    stream = 0
    for part in parts:
        if part.patterned:
            part = copy(part)
            part.stream, stream = stream, stream + 1
        yield part


def _of(constants: Constants, k: int) -> Mapping[str, torch.Tensor]:
    return {name.split(".", 1)[1]: value for name, value in constants.items() if name.split(".", 1)[0] == str(k)}
