"""Artefacts of MR scanners that are made in k-space: motion, ghosts, spikes, and the ringing of a cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from monai_ima.utils.checks import MAX_SEED, check_count, check_positive, is_number, shown

from .base import Constants, InMillimetres, Perturbation
from .fields import floor_of, range_of
from .geometry import check_rotatable, rotation_change
from .norms import per_sample

__all__ = ["Ghosting", "Gibbs", "Motion", "MotionRotation", "Spike"]


class _SegmentMotion(InMillimetres):
    """Base of movements between blocks of k-space lines, relative to the block that holds the centre of k-space.

    Args:
        segments: blocks of lines, from the lowest to the highest along the phase axis, >= 2.
        axis: the phase axis, among the spatial ones.
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.
    """

    def __init__(
        self,
        segments: int = 5,
        axis: int = -1,
        norm: str = "linf",
        spacing: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(norm, spacing)
        self.segments, self.axis = check_count("segments", segments, 2), _check_axis(axis)

    def segment_of_line(self, image: torch.Tensor) -> torch.Tensor:
        """The block in which each line was measured, in the FFT's order: int ``[N]``."""
        lines = image.shape[_phase_axis(self.name, self.axis, image)]
        position = torch.arange(lines, device=image.device) * self.segments // lines
        return torch.fft.ifftshift(position)

    def with_still_centre(self, image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """θ of all blocks: that of the block with the centre of k-space is 0."""
        lines = image.shape[_phase_axis(self.name, self.axis, image)]
        centre = lines // 2 * self.segments // lines
        still = torch.zeros_like(theta[:, :1])
        return torch.cat([theta[:, :centre], still, theta[:, centre:]], dim=1)


class Motion(_SegmentMotion):
    """A patient who moves between blocks of k-space lines: in each block the object lay elsewhere.

    θ ``[segments - 1, d]`` are the displacements in mm from where the object lay while the centre of k-space was
    measured, which is where the labels are. Each block of lines gets the phase ramps of its displacement (round the
    edges), and the real part of the image counts.

    Args:
        segments: blocks of lines, from the lowest to the highest along the phase axis, >= 2.
        axis: the phase axis, among the spatial ones.
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name; later, if images have no such axis.

    Example:
        >>> image = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
        >>> Motion(segments=2, spacing=2).apply(image, torch.tensor([[[4.0]]])).round(decimals=4).abs()
        tensor([[[0.0000, 0.5000, 0.0000, 0.5000]]])
    """

    name, title, unit = "motion", "motion", "mm"
    levels = (0.5, 1.0, 2.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        _phase_axis(self.name, self.axis, image)
        return (self.segments - 1, image.ndim - 2)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        phase_axis = _phase_axis(self.name, self.axis, image)
        everywhere = self.with_still_centre(image, theta / constants["spacing"].unsqueeze(1))
        voxels = everywhere[:, self.segment_of_line(image)]
        phase: torch.Tensor | float = 0.0
        for axis in range(2, image.ndim):
            shift = _along(voxels[:, :, axis - 2], phase_axis, image.ndim)
            phase = phase - 2 * math.pi * _along(_cycles(image, axis), axis, image.ndim) * shift
        phase = torch.as_tensor(phase)
        ramp_less_one = torch.complex(-2 * (phase / 2).sin().square(), phase.sin())
        return _back(_spectrum(image) * ramp_less_one)


class MotionRotation(_SegmentMotion):
    """A patient who turns between blocks of k-space lines: each block is one of the turned object.

    θ ``[segments - 1, 1 or 3]`` are the angles in degrees from how the object lay while the centre of k-space was
    measured, as :class:`~monai_ima.perturbations.Rotation` has them. The real part of the image counts, labels stay.

    Args:
        segments: blocks of lines, from the lowest to the highest along the phase axis, >= 2.
        axis: the phase axis, among the spatial ones.
        norm: of θ.
        spacing: mm per voxel, one number or one per axis; None: what the image's affine says, else an error.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name; later, if images are not 2-D or 3-D or
            have no such axis.

    Example:
        >>> MotionRotation(spacing=1).shape(torch.zeros(1, 1, 8, 8, 8))
        (4, 3)
    """

    name, title, unit = "motion_rotation", "motion (rotation)", "degrees"
    levels = (1.0, 2.0, 5.0)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        _phase_axis(self.name, self.axis, image)
        return (self.segments - 1, check_rotatable(self.name, image))

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        check_rotatable(self.name, image)
        return super().constants(image, spacing)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        phase_axis = _phase_axis(self.name, self.axis, image)
        segment = _along(self.segment_of_line(image).unsqueeze(0), phase_axis, image.ndim)
        everywhere = self.with_still_centre(image, theta)
        spectra = [
            _spectrum(rotation_change(image, everywhere[:, k], constants["spacing"])) * (segment == k)
            for k in range(self.segments)
        ]
        return _back(torch.stack(spectra).sum(dim=0))


class Ghosting(Perturbation):
    """Ghosts along the phase axis, as periodic movement (breathing, flow) makes them.

    θ ``[ghosts]`` are the strengths in per cent of replicas of the object (the image less its channel's lowest
    intensity), each shifted by ``N g / (ghosts + 1)`` of the N voxels, round the edges: k-space lines are modulated
    with a period of ``ghosts + 1``.

    Args:
        ghosts: how many, >= 1.
        axis: the phase axis, among the spatial ones.
        norm: of θ.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name; later, if images have no such axis.

    Example:
        >>> Ghosting(ghosts=1).apply(torch.tensor([[[0.0, 10.0, 0.0, 0.0]]]), torch.tensor([[10.0]])).round().abs()
        tensor([[[ 0., 10.,  0.,  1.]]])
    """

    name, title, unit = "ghosting", "ghosting", "%"
    levels = (5.0, 10.0, 20.0)

    def __init__(self, ghosts: int = 3, axis: int = -1, norm: str = "linf") -> None:
        super().__init__(norm)
        self.ghosts, self.axis = check_count("ghosts", ghosts, 1), _check_axis(axis)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        _phase_axis(self.name, self.axis, image)
        return (self.ghosts,)

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"floor": floor_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        axis = _phase_axis(self.name, self.axis, image)
        line = _cycles(image, axis) * image.shape[axis]
        ghost = torch.arange(1, self.ghosts + 1, dtype=image.dtype, device=image.device).unsqueeze(1)
        phase = -2 * math.pi * ghost * line / (self.ghosts + 1)
        modulation = torch.complex(theta / 100 @ phase.cos(), theta / 100 @ phase.sin())
        lines = torch.fft.fft(image - constants["floor"], dim=axis) * _along(modulation, axis, image.ndim)
        return torch.fft.ifft(lines, dim=axis).real


class Spike(Perturbation):
    """Spikes in k-space: stripes through the whole image, one wave for each.

    θ ``[spikes, 2]`` are the amplitudes of each wave's cosine and sine in per cent of the range of the sample's
    channel. The places of the spikes are drawn once, the same for all images of a size.

    Args:
        spikes: how many, >= 1.
        seed: of their places, >= 0.
        norm: of θ.

    Raises:
        ValueError: if a number is out of its range or ``norm`` another name.

    Example:
        >>> Spike().shape(torch.zeros(1, 1, 8, 8))
        (3, 2)
    """

    name, title, unit = "spike", "k-space spikes", "%"
    levels = (2.0, 5.0, 10.0)

    def __init__(self, spikes: int = 3, seed: int = 0, norm: str = "l2") -> None:
        super().__init__(norm)
        self.spikes, self.seed = check_count("spikes", spikes, 1), check_count("seed", seed, 0, MAX_SEED)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (self.spikes, 2)

    def places(self, image: torch.Tensor) -> torch.Tensor:
        """Where the spikes are, in cycles per image along each axis: int ``[spikes, d]``."""
        generator = torch.Generator().manual_seed(self.seed)
        share = 2 * torch.rand((self.spikes, image.ndim - 2), generator=generator, dtype=torch.float64) - 1
        highest = (torch.tensor(image.shape[2:]) - 1) // 2
        return (share.sign() * (share.abs() * highest).ceil()).long()

    def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Constants:
        return {"range": range_of(image)}

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        phase = torch.zeros(self.spikes, *image.shape[2:], dtype=torch.float64)
        for axis, size in enumerate(image.shape[2:]):
            turns = self.places(image)[:, axis : axis + 1] * torch.arange(size, dtype=torch.float64) / size
            phase = phase + 2 * math.pi * _along(turns, axis + 1, image.ndim - 1)
        waves = torch.stack([phase.cos(), phase.sin()], dim=1).to(image)
        return constants["range"] * torch.einsum("bsk,sk...->b...", theta / 100, waves).unsqueeze(1)


class Gibbs(Perturbation):
    """Ringing at edges: the high frequencies were not measured.

    θ is the share in per cent that is cut off the radius of k-space, where each axis reaches from 0 to its own highest
    frequency and the corner is the full radius (of square images that of MONAI's ``GibbsNoise``, with ``alpha`` θ /
    100). The cut has a soft edge, its sign does not matter.

    Args:
        edge: width of the soft edge as a share of the radius, > 0.
        norm: of θ.

    Raises:
        ValueError: if ``edge`` is not > 0 or ``norm`` another name.

    Example:
        >>> step = torch.zeros(1, 1, 64)
        >>> step[..., 16:48] = 1
        >>> bool(Gibbs().apply(step, torch.tensor([[60.0]])).max() > 1.05)  # it overshoots
        True
    """

    name, title, unit = "gibbs", "ringing (Gibbs)", "%"
    levels = (20.0, 40.0, 60.0)
    largest = 99.0

    def __init__(self, edge: float = 0.02, norm: str = "linf") -> None:
        super().__init__(norm)
        self.edge = check_positive("edge", edge)

    def shape(self, image: torch.Tensor) -> tuple[int, ...]:
        return (1,)

    def change(self, image: torch.Tensor, theta: torch.Tensor, constants: Constants) -> torch.Tensor:
        axes = range(2, image.ndim)
        squares = [(2 * _along(_cycles(image, axis), axis, image.ndim)).square() for axis in axes]
        radius = (torch.stack(torch.broadcast_tensors(*squares)).sum(dim=0) / len(squares)).sqrt()
        cut = 1 - per_sample(theta[:, 0].abs() / 100, image)
        passed = ((cut - radius) / self.edge).sigmoid() - ((1 - radius) / self.edge).sigmoid()
        return _back(_spectrum(image) * passed)


def _check_axis(axis: int) -> int:
    if not is_number(axis) or axis not in range(-3, 3):
        raise ValueError(f"Got axis {shown(axis)}, expected a spatial axis: an integer from -3 to 2.")
    return int(axis)


def _phase_axis(name: str, axis: int, image: torch.Tensor) -> int:
    axes = image.ndim - 2
    if not -axes <= axis < axes:
        raise ValueError(f"Got images of {axes} spatial axes for {name} along axis {axis}, expected ones that have it.")
    return 2 + axis % axes


def _cycles(image: torch.Tensor, axis: int) -> torch.Tensor:
    """The frequencies of an axis in cycles per voxel, in the FFT's order: ``[1, N]``."""
    return torch.fft.fftfreq(image.shape[axis], dtype=image.dtype, device=image.device).unsqueeze(0)


def _along(values: torch.Tensor, axis: int, ndim: int) -> torch.Tensor:
    """``[B, N]`` so that it broadcasts over ``ndim`` axes, with N at ``axis``."""
    shape = [1] * ndim
    shape[0], shape[axis] = values.shape
    return values.view(shape)


def _spectrum(image: torch.Tensor) -> torch.Tensor:
    return torch.fft.fftn(image, dim=tuple(range(2, image.ndim)))


def _back(spectrum: torch.Tensor) -> torch.Tensor:
    return torch.fft.ifftn(spectrum, dim=tuple(range(2, spectrum.ndim))).real
