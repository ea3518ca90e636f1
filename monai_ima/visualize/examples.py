from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_ima.utils.checks import check_instance, shortened
from monai_ima.utils.plain_numbers import plain_number
from monai_ima.utils.tensors import check_tensor

__all__ = ["Example", "attack_examples", "case_picture", "classes_in_words"]

WHAT = ("clean", "noisy")
LONGEST_NAME = 22
ROW, TITLE, HEADING = 2.65, 0.45, 0.3
"""Inches: of a row of examples, of the titles above each, and of the heading above all."""


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
    """Clean image, noise and noisy image with predicted classes, one row a sample; signals are drawn as lines.

    The noise has one colour scale in all rows: red is brighter, blue darker.

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
    for example in examples:
        check_instance("examples", example, Example, "a sequence of Example(...)")
        if example.clean.ndim not in (2, 3):
            raise ValueError(
                f"Sample {example.sample_id!r} has shape {tuple(example.clean.shape)}, expected [C, H, W] or [C, L]."
            )
    height = ROW * len(examples) + HEADING
    figure = Figure(figsize=(7.5, height), dpi=120)
    grid = figure.subplots(
        len(examples),
        3,
        squeeze=False,
        gridspec_kw=_edges(height, top=HEADING + TITLE, left=0.05, hspace=TITLE / (ROW - TITLE)),
    )
    limit = max(float((example.noisy - example.clean).abs().max()) for example in examples)
    for axes, example in zip(grid, examples, strict=True):
        if example.clean.ndim == 2:
            _draw_signals(axes, example.clean, example.noisy, limit)
        else:
            _draw_images(axes, example.clean, example.noisy, limit)
        misclassified = example.noisy_predicted != example.predicted
        axes[0].set_title(f"clean: {classes_in_words(example.predicted, classes)}", fontsize=9)
        axes[1].set_title(f"noise, ε = {plain_number(example.eps)}\n{size(example.eps)}".rstrip(), fontsize=9)
        axes[2].set_title(
            f"noisy: {classes_in_words(example.noisy_predicted, classes)}",
            fontsize=9,
            color="firebrick" if misclassified else "black",
        )
        axes[0].set_ylabel(f"label: {classes_in_words(example.label, classes)}", fontsize=9)
    figure.suptitle(title, fontsize=10, y=1 - 0.1 / height)
    return figure


def case_picture(
    clean: torch.Tensor, noisy: torch.Tensor, limit: float | None = None, predicted: Sequence[str] = ("", "")
) -> Figure:
    """Clean image, noise and noisy image side by side, with what is predicted; a signal as two lines.

    Args:
        clean: image ``[C, H, W]`` (three channels are shown in colour, of any other number the first) or signal
            ``[C, L]`` (the first channel is shown).
        noisy: of the same shape.
        limit: noise that the colour scale ends at, blue below 0 and red above; None: the largest here.
        predicted: names of the classes of the clean and of the noisy image.

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
    limit = limit or float((noisy - clean).abs().max())
    headings = [
        f"{what}: {shortened(name, LONGEST_NAME)}" if name else what for what, name in zip(WHAT, predicted, strict=True)
    ]
    if clean.ndim == 2:
        figure = Figure(figsize=(5, 2.4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        axes.plot(_drawn(clean), color="#0072B2", linewidth=1.2, label=headings[0])
        axes.plot(_drawn(noisy), color="#D55E00", linewidth=0.9, linestyle="--", label=headings[1])
        axes.set_axis_off()
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
        return figure
    height = 2 * clean.shape[1] / clean.shape[2] + 0.35
    figure = Figure(figsize=(6.4, height), dpi=110)
    panels = figure.subplots(1, 3, gridspec_kw=_edges(height, top=0.32))
    _draw_images(panels, clean, noisy, limit)
    titles = (headings[0], f"noise, scale ± {plain_number(limit, 2)}", headings[1])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=11)
    return figure


def _edges(height: float, top: float, left: float = 0.01, hspace: float = 0.0) -> dict[str, float]:
    """Where panels stand in a figure that is ``height`` inches high, ``top`` of them above the first row.

    Matplotlib's layout engines would find these places by drawing everything once more.
    """
    return {"left": left, "right": 0.99, "bottom": 0.05 / height, "top": 1 - top / height, "wspace": 0.04} | {
        "hspace": hspace
    }


def _draw_images(panels: Sequence[Axes], clean: torch.Tensor, noisy: torch.Tensor, limit: float) -> None:
    """Clean image, noise and noisy image; of colours the change of the channel that changes most."""
    first, second = _drawn(clean), _drawn(noisy)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    span = (high - low) or 1.0
    noise = second - first
    if noise.ndim == 3:
        noise = np.take_along_axis(noise, np.abs(noise).argmax(axis=2, keepdims=True), axis=2)[..., 0]
    panels[0].imshow((first - low) / span, cmap="gray", vmin=0, vmax=1)
    panels[1].imshow(noise, cmap="RdBu_r", vmin=-(limit or 1.0), vmax=limit or 1.0)
    panels[2].imshow((second - low) / span, cmap="gray", vmin=0, vmax=1)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])


def _draw_signals(panels: Sequence[Axes], clean: torch.Tensor, noisy: torch.Tensor, limit: float) -> None:
    first, second = _drawn(clean), _drawn(noisy)
    for axes, values in zip(panels, (first, second - first, second), strict=True):
        axes.plot(values, color="black", linewidth=0.8)
        axes.set_xticks([])
        axes.set_yticks([])
    both = np.concatenate([first, second])
    for axes in (panels[0], panels[2]):
        axes.set_ylim(both.min(), both.max())
    panels[1].set_ylim(-1.05 * (limit or 1.0), 1.05 * (limit or 1.0))


def _drawn(image: torch.Tensor) -> np.ndarray:
    """What of an image is drawn: ``[H, W]``, ``[H, W, 3]`` or ``[L]``."""
    if image.ndim == 3 and len(image) == 3:
        return image.permute(1, 2, 0).float().numpy()
    return image[0].float().numpy()
