from __future__ import annotations

import torch
from torch.nn.functional import pad

from monai_ima.utils.checks import check_count

from .base import Constants, Perturbation
from .fields import floor_of

__all__ = ["Frequency"]


class Frequency(Perturbation):
    """Other amplitudes of the Fourier coefficients of blocks: the same relative change in each block.

    θ ``[block, ..., block // 2 + 1]`` are the changes in per cent of the real FFT's coefficients, of a block of the
    image less its channel's lowest intensity. The image is continued as at its edge to whole blocks. VAFA (Hanif et al.
    2023, MICCAI) attacks blocks likewise; but it takes the discrete cosine transform, changes coefficients by a
    quantisation table with a differentiable rounding in place of a factor, and limits the table's entries together with
    the images' structural similarity, where here ``‖θ‖`` is all that is limited.

    Args:
        block: voxels of a block along each axis, >= 2.
        norm: of θ.

    Raises:
        ValueError: if ``block`` is below 2 or ``norm`` another name.

    Example:
        >>> Frequency().shape(torch.zeros(1, 1, 20, 20, 20))
        (8, 8, 5)
        >>> theta = torch.full((1, 3), 10.0)  # all coefficients alike: a gain
        >>> Frequency(block=4).apply(torch.tensor([[[0.0, 1.0, 0.0, 2.0]]]), theta)
        tensor([[[0.0000, 1.1000, 0.0000, 2.2000]]])
    """

    name, title, unit = "frequency", "frequencies of blocks", "%"
    levels = (10.0, 20.0, 40.0)

    def __init__(self, block: int = 8, norm: str = "linf") -> None:
        super().__init__(norm)
        self.block = check_count("block", block, 2)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (*[self.block] * (image.ndim - 3), self.block // 2 + 1)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"floor": floor_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        axes, grid = image.ndim - 2, image.shape[2:]
        margins = [amount for size in reversed(grid) for amount in (0, -size % self.block)]
        blocks = pad(image - constants["floor"], margins, mode="replicate")
        for axis in range(axes):  # [B, C, blocks, inside, blocks, inside, ...]
            blocks = blocks.unflatten(2 + 2 * axis, (-1, self.block))
        inside = tuple(range(3, 3 + 2 * axes, 2))
        factor = theta.view(len(theta), *[n for size in theta.shape[1:] for n in (1, size)]).unsqueeze(1) / 100
        change = torch.fft.irfftn(torch.fft.rfftn(blocks, dim=inside) * factor, s=[self.block] * axes, dim=inside)
        for axis in range(axes):
            change = change.flatten(2 + axis, 3 + axis)
        return change[(..., *[slice(size) for size in grid])]
