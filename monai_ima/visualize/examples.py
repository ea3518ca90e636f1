from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from monai_ima.engines.robustness import Example

__all__ = ["attack_examples"]

NOISE_GAIN = 10


def attack_examples(examples: Sequence[Example], classes: Sequence[str], title: str = "") -> Figure:
    """Clean image, noise times 10 and noisy image with predicted classes, one row a sample.

    Args:
        examples: 2-D images ``[C, H, W]``; of several channels the first is shown.
        classes: names of the classes.
        title: above the figure.

    Raises:
        ValueError: when there are no examples, or an image is not 2-D.
    """
    if not examples:
        raise ValueError("Got no examples, expected at least one sample that is right without noise.")
    figure = Figure(figsize=(7.5, 2.6 * len(examples)), dpi=120, layout="constrained")
    grid = figure.subplots(len(examples), 3, squeeze=False)
    for axes, example in zip(grid, examples, strict=True):
        if example.clean.ndim != 3:
            raise ValueError(
                f"Sample {example.record.sample_id!r} has shape {tuple(example.clean.shape)}, expected [C, H, W]."
            )
        clean, noisy = _plane(example.clean), _plane(example.noisy)
        lo, hi = min(clean.min(), noisy.min()), max(clean.max(), noisy.max())
        half = (hi - lo) / 2
        axes[0].imshow(clean, cmap="gray", vmin=lo, vmax=hi)
        axes[1].imshow(NOISE_GAIN * (noisy - clean), cmap="gray", vmin=-half, vmax=half)
        axes[2].imshow(noisy, cmap="gray", vmin=lo, vmax=hi)
        record = example.record
        turned = record.broken_at is not None
        axes[0].set_title(f"clean: {classes[record.predicted]}", fontsize=9)
        axes[1].set_title(f"noise × {NOISE_GAIN}, ε = {example.eps:g}", fontsize=9)
        axes[2].set_title(
            f"noisy: {classes[record.noisy_predicted]}", fontsize=9, color="firebrick" if turned else "black"
        )
        axes[0].set_ylabel(f"label: {classes[record.label]}", fontsize=9)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
    figure.suptitle(title, fontsize=10)
    return figure


def _plane(image: torch.Tensor) -> np.ndarray:
    return image[0].float().numpy()
