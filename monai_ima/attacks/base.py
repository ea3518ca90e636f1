from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
import torch
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import nn

from monai_ima.criteria import ClassificationCriterion, Criterion, check_criterion
from monai_ima.perturbations.additive import Additive
from monai_ima.perturbations.base import Fitted, Perturbation
from monai_ima.perturbations.norms import Generators, Norm, gaussian, get_norm
from monai_ima.utils.checks import (
    check_bounds,
    check_callable,
    check_channels,
    check_instance,
    check_output,
    is_number,
    shown,
)
from monai_ima.utils.errors import SampleError
from monai_ima.utils.known_labels import known_labels
from monai_ima.utils.outputs import OneOutput, Output, choose_label, choose_output
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.signatures import named_settings
from monai_ima.utils.spacing import image_spacing
from monai_ima.utils.tensors import check_finite, check_tensor, plain

from .channels import FixedChannels, attacked_channels
from .execution import Execution
from .health import Health
from .mode import attack_mode
from .parameters import ParameterSpace
from .target import CleanPass, Loss, Target, select_samples

__all__ = ["Attack", "AttackResult", "AttackSettings", "check_eps"]


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        image: ``[B, C, *spatial]``, the worst point found; for ``BoundaryPGD`` the point of Algorithm 3.
        success: bool ``[B]``, some iterate is misclassified; for ``BoundaryPGD``: ``image`` is on the boundary.
        distance: float ``[B]``, norm of ``image`` minus the clean image; of a perturbation with parameters its size.
        clean_correct: bool ``[B]``, the clean prediction is correct.
        clean_score: float ``[B]``, the criterion's score of that prediction; NaN where the label cannot tell.
        queries: int64 ``[B]``, how many images the network was shown for each sample, the clean one included; None
            from an attack that does not count them.
        theta: ``[B, *shape]``, the parameters that made ``image``; None of additive noise.
        label: the labels that hold for ``image`` where the perturbation moves voxels; None: the clean ones hold.

    Example:
        >>> clean, noisy = torch.zeros(2, 1, 3), torch.ones(2, 1, 3)
        >>> correct, distance = torch.tensor([True, False]), (noisy - clean).flatten(1).norm(dim=1)
        >>> AttackResult(noisy, ~correct, distance, correct, torch.tensor([2.0, -1.0])).success
        tensor([False,  True])
    """

    image: torch.Tensor
    success: torch.Tensor
    distance: torch.Tensor
    clean_correct: torch.Tensor
    clean_score: torch.Tensor
    queries: torch.Tensor | None = None
    theta: torch.Tensor | None = None
    label: torch.Tensor | None = None


class AttackSettings(TypedDict, total=False):
    """The settings that all attacks share, explained at :class:`Attack`.

    Example:
        >>> settings: AttackSettings = {"bounds": (0, 1), "generator": torch.Generator().manual_seed(3)}
        >>> sorted(settings)
        ['bounds', 'generator']
    """

    bounds: Sequence[float] | None
    criterion: Criterion | None
    loss: Loss | None
    generator: torch.Generator | None
    channels: Sequence[int] | None
    output: Output
    perturbation: Perturbation | None
    compile: bool
    memory_format: str | None
    autocast: str | None


class Attack(ABC):
    """Base of all attacks: checks the input, guards the network's mode, hands plain tensors to :meth:`run`.

    An attack leaves parameters' ``.grad``, training modes, buffers, the input tensors and the global random state as
    they were. A network that is a ``torch.nn.Module`` is attacked in evaluation mode; for any other callable the
    mode is the caller's business (see :func:`attack_mode`).

    Args:
        norm: ``"l2"`` or ``"linf"``.
        bounds: valid intensities ``(lo, hi)`` to which noisy images are clipped; None for no limit.
        criterion: says when a prediction is correct; None means :class:`ClassificationCriterion`.
        loss: attack objective, ``(logits, label) -> float [B]``; None means the criterion's own.
        generator: source of the random draws; None means a generator of the attack's own, seeded with 0.
        channels: of the image that noise may change; None means all. Norm, bounds and draws are those of these channels
            alone; the others, such as maps of clicks, stay as they are.
        output: index or key of the network's output that counts, where it returns several; None: the first.
        perturbation: what ε measures: radii, distances and draws are those of its parameters θ, in its unit and its
            norm, and ``norm`` says nothing. None means noise that is added pixel by pixel.
        compile: run the network through ``torch.compile``, in batches of powers of two. For this and the next two see
            ``docs/speed.md``: they change the speed and the rounding of the numbers.
        memory_format: ``"channels_last"`` for images in this format; None: as they are.
        autocast: ``"bfloat16"`` or ``"float16"``: the network runs under ``torch.autocast`` of this type; None: as the
            call finds it.

    Raises:
        ValueError: if ``norm`` is another name, ``bounds`` do not rise, ``channels`` are no different integers >= 0,
            ``output`` can name none, or ``memory_format`` or ``autocast`` is another name.
        TypeError: if ``criterion``, ``loss``, ``generator`` or ``perturbation`` is none.

    Example:
        >>> class Darker(Attack):
        ...     def run(self, target, generator):
        ...         image = self.move(target, torch.full_like(target.image, -1.0))
        ...         return self.result(target, image, ~target.predict(image).correct)
        >>> network, label = torch.nn.Flatten(), torch.tensor([0])
        >>> Darker("linf")(network, torch.tensor([[[0.9, 0.5]]]), label, eps=0.1).image
        tensor([[[0.8000, 0.4000]]])
    """

    goes_on_from_clean = False
    """Whether the clean prediction's graph is kept: the attack's first step is then a backward pass alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        arguments = named_settings(cls.__init__, Attack.__init__, AttackSettings)
        cls.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]

    def __init__(
        self,
        norm: str | Norm = "l2",
        bounds: Sequence[float] | None = None,
        criterion: Criterion | None = None,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
        channels: Sequence[int] | None = None,
        output: Output = None,
        perturbation: Perturbation | None = None,
        compile: bool = False,
        memory_format: str | None = None,
        autocast: str | None = None,
    ) -> None:
        self.execution = Execution(compile, memory_format, autocast)
        if perturbation is not None:
            check_instance("perturbation", perturbation, Perturbation, "a perturbation such as BiasField()")
        self.norm = get_norm(norm) if perturbation is None else perturbation.norm
        self.perturbation = None if isinstance(perturbation, Additive) else perturbation
        self.bounds = check_bounds(bounds)
        self.criterion = ClassificationCriterion() if criterion is None else check_criterion(criterion)
        if loss is not None:
            check_callable("loss", loss, "a function (logits, label) -> [B]")
        self.loss = loss
        if generator is not None:
            check_instance("generator", generator, torch.Generator, "a torch.Generator")
        self.generator = generator
        self.channels = check_channels(channels)
        self.output = check_output(output)

    def __call__(
        self,
        network: Callable[[torch.Tensor], Any],
        image: torch.Tensor,
        label: torch.Tensor,
        eps: float | torch.Tensor,
        generator: Generators | None = None,
        criterion: Criterion | None = None,
        spacing: torch.Tensor | None = None,
    ) -> AttackResult:
        """Attack a batch.

        Args:
            network: any callable from images to logits, or to several outputs of which ``output`` counts.
            image: ``[B, C, *spatial]``, floating point, 1-D to 3-D, its attacked channels inside the bounds.
            label: one row per sample, as the criterion takes it; a sample without a label that counts is not moved. Of
                a dictionary that of the key ``output`` counts.
            eps: radius of the ball, >= 0, one for all or ``[B]``, in the units of ``image``.
            generator: overrides the attack's own for this call; a list of B generators gives every sample its own
                stream, so that its result does not depend on the batch it is in.
            criterion: overrides the attack's own for this call.
            spacing: mm per voxel, ``[B, d]``, for perturbations in mm; None: what a ``MetaTensor``'s affine says.

        Raises:
            ValueError: when an argument does not fit.
            TypeError: when it is of another type.
            SampleError: when a sample's image, label, radius, loss or gradient is not as expected.
        """
        label = choose_label(label, self.output)
        x, y = plain(check_tensor("image", image)).detach(), plain(check_tensor("label", label)).detach()
        if self.perturbation is not None and spacing is None:
            spacing = image_spacing(image)
        _check_batch(x, y)
        criterion = self.criterion if criterion is None else check_criterion(criterion)
        predict: Callable[[torch.Tensor], Any] = (
            network if hasattr(network, "select") else Predictor.of(network, len(x))
        )
        predict = self.execution.applied(predict)
        guard = attack_mode(network) if isinstance(network, nn.Module) else nullcontext()
        with torch.inference_mode(False), guard, torch.no_grad():
            x, y = (tensor.clone() if tensor.is_inference() else tensor for tensor in (x, y))
            fixed = None
            if self.channels is not None:
                predict = fixed = FixedChannels(predict, x, attacked_channels(self.channels, x))
                x = fixed.part
            _check_inside(x, self.bounds)
            norm, bounds, space, moving = self.norm, self.bounds, None, None
            if self.perturbation is not None:
                norm, bounds = self.perturbation.norm_of(x), None
                fitted = self.perturbation.fit(x, spacing)
                predict = space = ParameterSpace(predict, fitted, self.bounds)
                moving = fitted if self.perturbation.geometric else None
                x = fitted.zero()
            radius = check_eps(eps, x)
            if self.perturbation is not None and bool((radius > self.perturbation.largest).any()):
                raise ValueError(
                    f"Got eps {float(radius.max()):g} for {self.perturbation.name}, expected at most "
                    f"{self.perturbation.largest:g} {self.perturbation.unit}."
                )
            generators = self._generators(generator, x)
            result = self._run(predict, norm, bounds, x, y, radius, criterion, moving, generators)
            if space is not None:
                theta = result.image
                moved = None if moving is None else moving.apply_label(y, theta)
                result = replace(result, image=space.image(theta), theta=theta, label=moved)
            found = result.image if fixed is None else fixed.whole(result.image)
        return replace(result, image=convert_to_dst_type(found, image)[0])

    def _run(
        self,
        predict: Callable[[torch.Tensor], Any],
        norm: Norm,
        bounds: tuple[float, float] | None,
        image: torch.Tensor,
        label: torch.Tensor,
        eps: torch.Tensor,
        criterion: Criterion,
        moving: Fitted | None,
        generators: Generators,
    ) -> AttackResult:
        """The clean prediction, and the attack; what of either is not finite is told of at the end."""
        image = image.detach().requires_grad_(self.goes_on_from_clean)
        with torch.set_grad_enabled(self.goes_on_from_clean):
            passed = choose_output(predict(image), self.output, label)
        image, clean = image.detach(), CleanPass(image, passed) if self.goes_on_from_clean else None
        logits = passed.detach()
        rows, health = torch.arange(len(image), device=image.device), Health(len(image), image.device)
        health.note(rows, prediction=logits)
        with health.told_of():
            score = criterion.score(logits, label)
            eps = eps.masked_fill(~criterion.labelled(logits, label), 0)
            criterion = criterion.relative_to(score)
            correct = criterion.decide(score)
            network = predict if self.output is None else OneOutput(predict, self.output)
            target = Target(
                network,
                norm,
                bounds,
                rows,
                image,
                label,
                eps,
                criterion,
                self.loss,
                score,
                correct,
                health,
                moving,
                clean,
            )
            with known_labels():
                return self.run(target, generators)

    @abstractmethod
    def run(self, target: Target, generator: Generators) -> AttackResult:
        """Attack plain, checked tensors."""

    def move(self, target: Target, perturbation: torch.Tensor) -> torch.Tensor:
        """The noisy images: projected to the ball around the clean ones, then clipped to the bounds."""
        moved = target.image + target.norm.project(perturbation, target.eps)
        return moved if target.bounds is None else moved.clamp_(*target.bounds)

    def draw(self, target: Target, radius: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Noisy images drawn uniformly from the balls of these radii."""
        return self.move(target, target.norm.draw(target.image, radius, generator))

    def direction(self, gradient: torch.Tensor, target: Target, generator: Generators) -> torch.Tensor:
        """The direction of steepest ascent, of length 1; a random one where a gradient is exactly zero.

        Each part of a chain of perturbations has a direction of its own.
        """
        direction = target.norm.steepest(gradient)
        blocks = target.norm.blocks(direction)
        flat = torch.stack([torch.linalg.vector_norm(block.flatten(1), dim=1) == 0 for block in blocks])
        if flat.any():
            for k, block in enumerate(blocks):
                rows = flat[k].nonzero().squeeze(1)
                if len(rows) > 0:
                    stuck, generators = select_samples(target, generator, rows)
                    drawn = target.norm.steepest(gaussian(stuck.image, generators))
                    block[rows] = target.norm.blocks(drawn)[k]
        return direction

    def result(self, target: Target, image: torch.Tensor, success: torch.Tensor) -> AttackResult:
        """The worst images found, and which of them are a success."""
        distance = target.norm.length(image - target.image)
        return AttackResult(image, success, distance, target.clean_correct, target.clean_score)

    def _generators(self, generator: Generators | None, image: torch.Tensor) -> Generators:
        if generator is None:
            if self.generator is None:
                self.generator = torch.Generator(image.device).manual_seed(0)
            return self.generator
        if isinstance(generator, torch.Generator):
            return generator
        if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
            raise TypeError(f"Got generator {shown(generator)}, expected a torch.Generator, or a list of one a sample.")
        if len(generator) != len(image):
            raise ValueError(f"Got {len(generator)} generators for {len(image)} samples, expected one for each.")
        return generator


def check_eps(eps: float | torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """``eps`` as ``[B]``, of the images' type and device.

    Raises:
        ValueError: when there is not one radius or one for each sample, or one is negative or not finite.
    """
    if not is_number(eps) and not isinstance(eps, torch.Tensor | np.ndarray):
        raise TypeError(f"Got eps {shown(eps)}, expected a number >= 0, or a tensor with one for each sample.")
    radius = convert_to_tensor(eps, dtype=image.dtype, device=image.device, track_meta=False).flatten()
    if len(radius) not in (1, len(image)):
        raise ValueError(f"Got {len(radius)} values of eps for {len(image)} samples, expected one, or one for each.")
    bad = ~(torch.isfinite(radius) & (radius >= 0))
    if bad.any():
        sample = int(bad.nonzero()[0])
        raise SampleError(sample, f"has eps {float(radius[sample])}, expected a finite value >= 0.")
    return radius.expand(len(image)).contiguous()


def _check_batch(image: torch.Tensor, label: torch.Tensor) -> None:
    if image.ndim < 2 or not image.is_floating_point() or image.numel() == 0:
        raise ValueError(
            f"Got images of shape {tuple(image.shape)} and type {image.dtype}, expected floating point "
            "[B, C, *spatial] with at least one sample."
        )
    if label.ndim == 0 or len(label) != len(image):
        raise ValueError(f"Got labels of shape {tuple(label.shape)} for {len(image)} samples, expected one row each.")
    check_finite(image, "an image")


def _check_inside(image: torch.Tensor, bounds: tuple[float, float] | None) -> None:
    if bounds is not None:
        lo, hi = bounds
        slack = 1e-3 * (hi - lo)
        flat = image.flatten(1)
        outside = (flat.amin(dim=1) < lo - slack) | (flat.amax(dim=1) > hi + slack)
        if outside.any():
            sample = int(outside.nonzero()[0])
            raise SampleError(
                sample,
                f"has intensities {float(flat[sample].min()):.4g} to {float(flat[sample].max()):.4g}, "
                f"expected them inside the bounds {lo:g} to {hi:g}.",
            )
