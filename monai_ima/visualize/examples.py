from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from .case import NOISE_GAIN, shown

__all__ = ["Example", "attack_examples"]


@dataclass(frozen=True)
class Example:
    """One sample, clean and attacked.

    Attributes:
        sample_id: of the sample.
        label: class index.
        predicted: class predicted for the clean image.
        noisy_predicted: class predicted for the attacked image.
        eps: ε, radius of the ball.
        clean: image ``[C, H, W]`` or signal ``[C, L]``.
        noisy: of the same shape.

    Example:
        >>> clean = torch.rand(1, 28, 28)
        >>> example = Example("train-00017", 3, 3, 5, 0.1, clean, clean + 0.1 * torch.randn(1, 28, 28).sign())
        >>> len(attack_examples([example], classes=list("0123456789")).axes)  # clean image, noise, noisy image
        3
    """

    sample_id: str
    label: int
    predicted: int
    noisy_predicted: int
    eps: float
    clean: torch.Tensor
    noisy: torch.Tensor


def attack_examples(examples: Sequence[Example], classes: Sequence[str], title: str = "") -> Figure:
    """Clean image, noise times 10 and noisy image with predicted classes, one row a sample; signals are drawn as lines.

    Args:
        examples: images ``[C, H, W]`` (three channels are shown in colour, of any other number the first) or signals
            ``[C, L]`` (the first channel is shown).
        classes: names of the classes.
        title: above the figure.

    Raises:
        ValueError: when there are no examples, or one is neither an image nor a signal.
    """
    if not examples:
        raise ValueError("Got no examples, expected at least one sample that is correct without an attack.")
    figure = Figure(figsize=(7.5, 2.6 * len(examples)), dpi=120, layout="constrained")
    grid = figure.subplots(len(examples), 3, squeeze=False)
    for axes, example in zip(grid, examples, strict=True):
        if example.clean.ndim not in (2, 3):
            raise ValueError(
                f"Sample {example.sample_id!r} has shape {tuple(example.clean.shape)}, expected [C, H, W] or [C, L]."
            )
        clean, noisy = shown(example.clean), shown(example.noisy)
        lo, hi = min(clean.min(), noisy.min()), max(clean.max(), noisy.max())
        if clean.ndim == 1:
            for axis, line in zip(axes, (clean, NOISE_GAIN * (noisy - clean), noisy), strict=True):
                axis.plot(line, color="black", linewidth=0.8)
            axes[0].set_ylim(lo, hi)
            axes[2].set_ylim(lo, hi)
        else:
            span = (hi - lo) or 1.0
            axes[0].imshow((clean - lo) / span, cmap="gray", vmin=0, vmax=1)
            axes[1].imshow(np.clip(NOISE_GAIN * (noisy - clean) / span + 0.5, 0, 1), cmap="gray", vmin=0, vmax=1)
            axes[2].imshow((noisy - lo) / span, cmap="gray", vmin=0, vmax=1)
        misclassified = example.noisy_predicted != example.predicted
        axes[0].set_title(f"clean: {classes[example.predicted]}", fontsize=9)
        axes[1].set_title(f"noise × {NOISE_GAIN}, ε = {example.eps:g}", fontsize=9)
        axes[2].set_title(
            f"noisy: {classes[example.noisy_predicted]}", fontsize=9, color="firebrick" if misclassified else "black"
        )
        axes[0].set_ylabel(f"label: {classes[example.label]}", fontsize=9)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
    figure.suptitle(title, fontsize=10)
    return figure
