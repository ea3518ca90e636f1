"""TorchIO's random transforms at the sizes of perturbations: a third score beside worst and average case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation as ScipyRotation

from monai_ima.attacks.channels import attacked_channels
from monai_ima.perturbations import (
    BiasField,
    Blur,
    Elastic,
    GammaContrast,
    Ghosting,
    Motion,
    MotionRotation,
    NoiseLevel,
    Perturbation,
    Rotation,
    Spike,
    Translation,
)
from monai_ima.perturbations.base import with_background
from monai_ima.utils.checks import check_bounds, check_channels
from monai_ima.utils.generators import kept_random_states
from monai_ima.utils.tensors import plain

from .torchio_sample import Changed, Sample, centred, torchio

__all__ = ["TorchIODraw", "check_torchio", "has_transform"]

EULER = "ZXY"
"""The order of ITK's Euler angles, intrinsic."""
FIELD_ORDER, LOG_COEFFICIENT = 3, 0.5
CONTROL_POINTS, LOCKED_BORDERS = 7, 2
"""Of TorchIO's bias field and elastic deformation: its defaults."""


def check_torchio(perturbations: Iterable[Perturbation]) -> None:
    """Refuse to draw TorchIO's transforms where it is missing, or has none for any of the perturbations.

    Raises:
        ImportError: if TorchIO is not installed.
        ValueError: if it has no transform for any.

    Example:
        >>> from monai_ima.perturbations import Gain
        >>> check_torchio([Gain()])  # doctest: +SKIP
        Traceback (most recent call last):
        ValueError: TorchIO has no random transform for gain, expected at least one of bias_field, ...
    """
    torchio()
    perturbations = list(perturbations)
    if not any(has_transform(one) for one in perturbations):
        names = ", ".join(one.name for one in perturbations)
        known = ", ".join(kind.name for kind in CHANGES)
        raise ValueError(f"TorchIO has no random transform for {names}, expected at least one of {known}.")


def has_transform(perturbation: Perturbation) -> bool:
    """TorchIO has a random transform for this perturbation, of 2-D and 3-D images.

    Example:
        >>> from monai_ima.perturbations import Gain
        >>> has_transform(BiasField()), has_transform(Gain()), has_transform(NoiseLevel(kind="rician"))
        (True, False, False)
    """
    gaussian = not isinstance(perturbation, NoiseLevel) or perturbation.kind == "gaussian"
    return type(perturbation) in CHANGES and gaussian


class TorchIODraw:
    """Random TorchIO transforms of exactly one size, each drawn from its sample's own stream.

    TorchIO draws the parameters, which are then scaled so that their norm, that of the perturbation, is the size:

    - bias field: a polynomial's coefficients, scaled until the factor's largest deviation from 1 is the size;
    - noise: the size is the standard deviation, in per cent of the range;
    - gamma: the size of 100 ln γ, of random sign in each channel;
    - blur: standard deviations of random ratio, the largest of which is the size;
    - motion: displacements, or rotation vectors, of ``segments - 1`` movements at random times;
    - ghosting: the strength of the strongest of ``ghosts`` replicas along a random axis;
    - spike: one wave's amplitude, in per cent of the range;
    - rotation: the angle about a random axis; translation: the displacement, in a random direction;
    - elastic: the displacements of the control points.

    "Largest" is what the norm is for L∞; where a perturbation's norm is L2, it is that. A field or a noise has the size
    that equal control points of that norm have. Intensities are scaled to 0..1 by each channel's range before, and back
    afterwards. Beyond the field TorchIO puts the lowest intensity and label 0.

    Args:
        perturbation: that TorchIO has a transform for (:func:`has_transform`).
        bounds: valid intensities ``(lo, hi)`` that changed images are clipped to; None for no limit.
        channels: of the image that may change; None means all.

    Raises:
        ImportError: if TorchIO is not installed.
        ValueError: if it has no transform for the perturbation, or ``bounds`` or ``channels`` are not as stated.

    Example:
        >>> draw = TorchIODraw(NoiseLevel())  # doctest: +SKIP
        >>> image, label = draw(images, labels, 5.0, generators)  # doctest: +SKIP
    """

    def __init__(
        self,
        perturbation: Perturbation,
        bounds: Sequence[float] | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        check_torchio([perturbation])
        self.perturbation = perturbation
        self.bounds = check_bounds(bounds)
        self.channels = check_channels(channels)

    def __call__(
        self,
        image: torch.Tensor,
        label: torch.Tensor,
        size: float,
        generators: Sequence[torch.Generator],
        spacing: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Transform every sample at random.

        Args:
            image: ``[B, C, *spatial]``, 2-D or 3-D.
            label: maps, ``[B, C, *spatial]`` or ``[B, *spatial]``, move with geometric transforms; classes stay.
            size: > 0, in the perturbation's unit.
            generators: one for each sample.
            spacing: mm per voxel, ``[B, d]``; None: what a ``MetaTensor``'s affine says.

        Returns:
            the changed images and their labels; the global random states stay as they were.

        Raises:
            ValueError: if images are neither 2-D nor 3-D, label maps are on another grid, or the perturbation needs the
                voxel size and it is unknown.
        """
        if image.ndim not in (4, 5):
            raise ValueError(f"Got images of shape {tuple(image.shape)}, expected 2-D or 3-D ones for TorchIO.")
        channels = attacked_channels(self.channels, image)
        fitted = self.perturbation.fit(image[:, channels], spacing)
        spacings = fitted.constants.get("spacing", torch.ones(len(image), image.ndim - 2))
        changed, label = plain(image).clone(), plain(label)
        maps = self.perturbation.label_maps(label, image)
        moved_maps = None if maps is None else maps.clone()
        for row, generator in enumerate(generators):
            sample = Sample(
                self.perturbation,
                size,
                fitted.image[row].float().cpu(),
                None if maps is None else maps[row].float().cpu(),
                tuple(spacings[row].tolist()),
            )
            seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
            with kept_random_states(image.device):
                torch.manual_seed(seed)
                found, moved = CHANGES[type(self.perturbation)](sample)
            found = found if self.bounds is None else found.clamp(*self.bounds)
            changed[row, channels] = found.to(changed)
            if moved_maps is not None and moved is not None:
                moved_maps[row] = moved.to(moved_maps)
        if maps is None or moved_maps is None:
            return changed, label
        return changed, with_background(moved_maps, maps).view_as(label)


def _bias_field(sample: Sample) -> Changed:
    tio = torchio()
    drawn = tio.RandomBiasField().get_params(FIELD_ORDER, (-LOG_COEFFICIENT, LOG_COEFFICIENT))
    field = tio.BiasField.generate_bias_field(sample.deep(sample.image), FIELD_ORDER, drawn)
    scale = _log_field_scale(np.log(field.astype(float)), sample.fraction)
    return sample.changed_unit(tio.BiasField(coefficients=[scale * one for one in drawn], order=FIELD_ORDER))


def _log_field_scale(field: np.ndarray, deviation: float) -> float:
    """The s for which ``exp(s field)`` deviates from 1 by this much at most; below 0 where only that reaches it."""
    sides = []
    for extreme in (field.max(), field.min()):
        reached = 1 + math.copysign(deviation, extreme)
        if extreme != 0 and reached > 0:
            sides.append(math.log(reached) / extreme)
    return min(sides) if sides else math.log1p(deviation) / field.min()


def _gamma(sample: Sample) -> Changed:
    tio = torchio()
    draw = tio.RandomGamma()
    logs = [math.log(draw.get_params((-1.0, 1.0))) for _ in sample.image]
    powers = [math.exp(float(sample.of_size(torch.tensor([log]))) / 100) for log in logs]
    return sample.changed_unit(tio.Gamma(powers))


def _noise(sample: Sample) -> Changed:
    deviation = (sample.fraction, sample.fraction)
    return sample.changed_unit(torchio().RandomNoise(mean=(0.0, 0.0), std=deviation))


def _blur(sample: Sample) -> Changed:
    tio = torchio()
    drawn = torch.tensor(tio.RandomBlur().get_params((0.0, 1.0) * 3)[: sample.axes])
    return sample.changed(tio.Blur(std=_triplet(sample.of_size(drawn))))


def _spike(sample: Sample) -> Changed:
    tio = torchio()
    place, _ = tio.RandomSpike().get_params((1, 1), (1.0, 1.0))
    found = sample.image.clone()
    for channel, unit in enumerate(sample.unit.image):
        highest = float(torch.fft.fftn(unit).abs().max())
        if highest > 0:
            spike = tio.Spike(place, sample.size / 100 * unit.numel() / highest)
            one = replace(sample, image=unit.unsqueeze(0))
            changed = one.changed(spike)[0]
            found[channel] = sample.from_unit(changed)[channel]
    return found, None


def _ghosting(sample: Sample) -> Changed:
    """Every n-th line is weakened by s: ghost g of n - 1 has the strength ``s / n cos(2 π g m / n)``, of the centre's
    line m."""
    tio, period = torchio(), sample.perturbation.ghosts + 1
    drawn = tio.RandomGhosting().get_params((period, period), tuple(range(sample.axes)), (1.0, 1.0), None)
    axis = drawn[1]
    centre = sample.image.shape[1 + axis] // 2
    ghosts = torch.arange(1, period, dtype=torch.float64)
    strengths = (2 * math.pi * ghosts * centre / period).cos() / period
    weakened = sample.size / 100 / sample.length(strengths)
    return sample.changed(tio.Ghosting(num_ghosts=period, axis=axis, intensity=weakened, restore=None))


def _motion(sample: Sample) -> Changed:
    times, _, displacements = _movements(sample)
    moved = sample.of_size(torch.as_tensor(displacements)[:, : sample.axes])
    return _in_motion(sample, times, moved, torch.zeros(len(moved), 3))


def _motion_rotation(sample: Sample) -> Changed:
    times, turns, _ = _movements(sample)
    turned = sample.of_size(torch.as_tensor(turns)[:, : 1 if sample.axes == 2 else 3])
    return _in_motion(sample, times, torch.zeros(len(turned), sample.axes), turned)


def _movements(sample: Sample) -> Any:
    """Times, turns and displacements of random movements."""
    return torchio().RandomMotion().get_params((-1.0, 1.0), (-1.0, 1.0), sample.perturbation.segments - 1)


def _in_motion(sample: Sample, times: Any, moved: torch.Tensor, turned: torch.Tensor) -> Changed:
    """TorchIO's phase axis is the last one, so that the perturbation's is made that; a plane lies across the first."""
    axis = sample.perturbation.axis % sample.axes
    image, spacing = sample.image.movedim(1 + axis, -1), list(sample.spacing)
    spacing.append(spacing.pop(axis))
    order = [*(k for k in range(sample.axes) if k != axis), axis]
    displaced = moved[:, order]
    if sample.axes == 2:
        image, spacing = image.unsqueeze(1), [1.0, *spacing]
        displaced = torch.nn.functional.pad(displaced, (1, 0))
    vectors = torch.nn.functional.pad(turned, (0, 3 - turned.shape[1]))
    tio = torchio()
    transform = tio.Motion(
        degrees=np.stack([_euler(vector) for vector in vectors]),
        translation=displaced.numpy(),
        times=times,
        image_interpolation="linear",
    )
    found = transform(tio.ScalarImage(tensor=image, affine=centred(image, spacing))).data
    found = found.squeeze(1) if sample.axes == 2 else found
    return found.movedim(-1, 1 + axis), None


def _rotation(sample: Sample) -> Changed:
    drawn = _drawn_affine(sample)[1]
    if sample.axes == 2:
        return sample.moved(_affine(degrees=(0.0, 0.0, float(sample.of_size(drawn[2:])))))
    return sample.moved(_affine(degrees=tuple(_euler(sample.of_size(drawn)))))


def _translation(sample: Sample) -> Changed:
    drawn = _drawn_affine(sample)[2][: sample.axes]
    return sample.moved(_affine(translation=_triplet(sample.of_size(drawn))))


def _drawn_affine(sample: Sample) -> Any:
    return torchio().RandomAffine.get_params((1.0, 1.0) * 3, (-1.0, 1.0) * 3, (-1.0, 1.0) * 3, True)


def _affine(degrees: Sequence[float] = (0.0, 0.0, 0.0), translation: Sequence[float] = (0.0, 0.0, 0.0)) -> Any:
    return torchio().Affine(scales=(1.0, 1.0, 1.0), degrees=degrees, translation=translation)


def _elastic(sample: Sample) -> Changed:
    """In a plane the control points are the same at every depth."""
    tio = torchio()
    points, limits = (CONTROL_POINTS,) * 3, (1.0, 1.0, 1.0)
    drawn = torch.as_tensor(tio.RandomElasticDeformation.get_params(points, limits, LOCKED_BORDERS))
    if sample.axes == 2:
        plane = sample.of_size(drawn[:, :, 0, :2])
        control = torch.nn.functional.pad(plane, (0, 1)).unsqueeze(2).expand((*points, 3))
    else:
        control = sample.of_size(drawn)
    largest = control.abs().amax(dim=(0, 1, 2)).tolist()
    return sample.moved(tio.ElasticDeformation(control.numpy(), max_displacement=tuple(largest)))


def _euler(vector: torch.Tensor) -> np.ndarray:
    """Degrees about x, y and z, as ITK has them, of a rotation vector in degrees."""
    z, x, y = ScipyRotation.from_rotvec(vector.double().numpy(), degrees=True).as_euler(EULER, degrees=True)
    return np.array([x, y, z])


def _triplet(values: torch.Tensor) -> tuple[float, ...]:
    """Values along the axes; 0 along the depth of a plane."""
    return tuple([*values.tolist(), 0.0][:3])


CHANGES: dict[type[Perturbation], Callable[[Sample], Changed]] = {
    BiasField: _bias_field,
    GammaContrast: _gamma,
    NoiseLevel: _noise,
    Blur: _blur,
    Motion: _motion,
    MotionRotation: _motion_rotation,
    Ghosting: _ghosting,
    Spike: _spike,
    Rotation: _rotation,
    Translation: _translation,
    Elastic: _elastic,
}
"""Of each perturbation that TorchIO has a random transform for, one draw of it."""
