from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from monai_ima.utils.checks import check_instance
from monai_ima.utils.tensors import check_tensor

__all__ = ["Example", "attack_examples", "case_picture", "classes_in_words"]

NOISE_GAIN = 10


@dataclass(frozen=True)
class Example:
    """One sample, clean and attacked.

    Attributes:
        sample_id: of the sample.
        label: class index; of independent outputs (multi-label) 0 or 1 for each, None where it is unknown.
        predicted: class, or outputs, predicted for the clean image.
        noisy_predicted: class, or outputs, predicted for the attacked image.
        eps: ε, radius of the ball.
        clean: image ``[C, H, W]`` or signal ``[C, L]``, the channels that noise may change.
        noisy: of the same shape.

    Example:
        >>> clean = torch.rand(1, 28, 28)
        >>> example = Example("train-00017", 3, 3, 5, 0.1, clean, clean + 0.1 * torch.randn(1, 28, 28).sign())
        >>> len(attack_examples([example], classes=list("0123456789")).axes)  # clean image, noise, noisy image
        3
    """

    sample_id: str
    label: int | list[int | None]
    predicted: int | list[int]
    noisy_predicted: int | list[int]
    eps: float
    clean: torch.Tensor
    noisy: torch.Tensor


def classes_in_words(found: int | Sequence[int | None], classes: Sequence[str]) -> str:
    """The name of a class; of independent outputs the names of those that are positive.

    Args:
        found: class index, or 0 or 1 for each output, None where it is unknown.
        classes: their names.

    Example:
        >>> classes_in_words(1, ["healthy", "ill"]), classes_in_words([1, 0, 1], ["edema", "mass", "nodule"])
        ('ill', 'edema, nodule')
    """
    if isinstance(found, int):
        return classes[found]
    return ", ".join(name for name, output in zip(classes, found, strict=True) if output) or "no label"


def attack_examples(
    examples: Sequence[Example],
    classes: Sequence[str],
    title: str = "",
    size: Callable[[float], str] = lambda eps: "",
) -> Figure:
    """Clean image, noise times 10 and noisy image with predicted classes, one row a sample; signals are drawn as lines.

    Args:
        examples: images ``[C, H, W]`` (three channels are shown in colour, of any other number the first) or signals
            ``[C, L]`` (the first channel is shown).
        classes: names of the classes.
        title: above the figure.
        size: of an ε in a pixel, in words.

    Raises:
        TypeError: when one is no :class:`Example`.
        ValueError: when there are no examples, or one is neither an image nor a signal.
    """
    check_instance("examples", examples, Sequence, "a sequence of Example(...)")
    if not examples:
        raise ValueError("Got no examples, expected at least one sample that is correct without an attack.")
    figure = Figure(figsize=(7.5, 2.6 * len(examples)), dpi=120, layout="constrained")
    grid = figure.subplots(len(examples), 3, squeeze=False)
    for axes, example in zip(grid, examples, strict=True):
        check_instance("examples", example, Example, "a sequence of Example(...)")
        if example.clean.ndim not in (2, 3):
            raise ValueError(
                f"Sample {example.sample_id!r} has shape {tuple(example.clean.shape)}, expected [C, H, W] or [C, L]."
            )
        panels = _panels(example.clean, example.noisy)
        for axis, panel in zip(axes, panels, strict=True):
            if panel.ndim == 1:
                axis.plot(panel, color="black", linewidth=0.8)
            else:
                axis.imshow(panel, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        if example.clean.ndim == 2:
            limits = np.concatenate(panels[::2])
            axes[0].set_ylim(limits.min(), limits.max())
            axes[2].set_ylim(limits.min(), limits.max())
        misclassified = example.noisy_predicted != example.predicted
        axes[0].set_title(f"clean: {classes_in_words(example.predicted, classes)}", fontsize=9)
        axes[1].set_title(f"noise × {NOISE_GAIN}, ε = {example.eps:g}\n{size(example.eps)}".rstrip(), fontsize=9)
        axes[2].set_title(
            f"noisy: {classes_in_words(example.noisy_predicted, classes)}",
            fontsize=9,
            color="firebrick" if misclassified else "black",
        )
        axes[0].set_ylabel(f"label: {classes_in_words(example.label, classes)}", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def case_picture(clean: torch.Tensor, noisy: torch.Tensor) -> Figure:
    """Clean image, noise times 10 and noisy image side by side, without words; a signal as two lines.

    Args:
        clean: image ``[C, H, W]`` (three channels are shown in colour, of any other number the first) or signal
            ``[C, L]`` (the first channel is shown).
        noisy: of the same shape.

    Raises:
        TypeError: when one is no tensor.
        ValueError: when it is neither an image nor a signal, or the shapes differ.
    """
    check_tensor("clean", clean)
    check_tensor("noisy", noisy)
    if clean.ndim not in (2, 3) or clean.shape != noisy.shape:
        raise ValueError(
            f"Got a clean image of shape {tuple(clean.shape)} and a noisy one of {tuple(noisy.shape)}, expected the "
            "same shape [C, H, W] or [C, L]."
        )
    panels = _panels(clean, noisy)
    if clean.ndim == 2:
        figure = Figure(figsize=(4, 2), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        axes.plot(panels[0], color="#0072B2", linewidth=1.2)
        axes.plot(panels[2], color="#D55E00", linewidth=0.9, linestyle="--")
        axes.set_axis_off()
        return figure
    height = 2 * clean.shape[1] / clean.shape[2]
    figure = Figure(figsize=(6.2, height), dpi=100, layout="constrained")
    for axes, panel in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


def _panels(clean: torch.Tensor, noisy: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clean image, noise times 10 and noisy image: ``[H, W]`` or ``[H, W, 3]`` on a scale from 0 to 1, or ``[L]``."""
    first, second = _drawn(clean), _drawn(noisy)
    noise = NOISE_GAIN * (second - first)
    if first.ndim == 1:
        return first, noise, second
    lo, hi = min(first.min(), second.min()), max(first.max(), second.max())
    span = (hi - lo) or 1.0
    return (first - lo) / span, np.clip(noise / span + 0.5, 0, 1), (second - lo) / span


def _drawn(image: torch.Tensor) -> np.ndarray:
    """What of an image is drawn: ``[H, W]``, ``[H, W, 3]`` or ``[L]``."""
    if image.ndim == 3 and len(image) == 3:
        return image.permute(1, 2, 0).float().numpy()
    return image[0].float().numpy()
