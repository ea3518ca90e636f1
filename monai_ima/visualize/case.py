from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

__all__ = ["NOISE_GAIN", "case_picture", "shown"]

NOISE_GAIN = 10


def case_picture(clean: torch.Tensor, noisy: torch.Tensor) -> Figure:
    """Clean image, noise times 10 and noisy image side by side, without words; a signal as two lines.

    Args:
        clean: image ``[C, H, W]`` (three channels are shown in colour, of any other number the first) or signal
            ``[C, L]`` (the first channel is shown).
        noisy: of the same shape.

    Raises:
        ValueError: when it is neither an image nor a signal, or the shapes differ.
    """
    if clean.ndim not in (2, 3) or clean.shape != noisy.shape:
        raise ValueError(
            f"Got a clean image of shape {tuple(clean.shape)} and a noisy one of {tuple(noisy.shape)}, expected the "
            "same shape [C, H, W] or [C, L]."
        )
    one, other = shown(clean), shown(noisy)
    lo, hi = float(min(one.min(), other.min())), float(max(one.max(), other.max()))
    if one.ndim == 1:
        figure = Figure(figsize=(4, 2), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        axes.plot(one, color="#0072B2", linewidth=1.2)
        axes.plot(other, color="#D55E00", linewidth=0.9, linestyle="--")
        axes.set_axis_off()
        return figure
    span = (hi - lo) or 1.0
    panels = ((one - lo) / span, np.clip(NOISE_GAIN * (other - one) / span + 0.5, 0, 1), (other - lo) / span)
    height = 2 * one.shape[0] / one.shape[1]
    figure = Figure(figsize=(6.2, height), dpi=100, layout="constrained")
    for axes, panel in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(panel, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    return figure


def shown(image: torch.Tensor) -> np.ndarray:
    """What of an image is drawn: ``[H, W]``, ``[H, W, 3]`` or ``[L]``."""
    if image.ndim == 3 and len(image) == 3:
        return image.permute(1, 2, 0).float().numpy()
    return image[0].float().numpy()
