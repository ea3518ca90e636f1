"""Ways to scale intensities, by name. No torch: options of the command line are checked with it."""

from __future__ import annotations

import re
from typing import Any

from .checks import shown

__all__ = ["scaling_transform"]

NUMBER = r"\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*"


def scaling_transform(scale: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of MONAI's dictionary transform for a way to scale intensities.

    Args:
        scale: "zscore", "minmax" or "LOW:HIGH", see :func:`~monai_ima.transforms.intensity_scaling`.

    Raises:
        ValueError: if ``scale`` is another text.

    Example:
        >>> scaling_transform("minmax")
        ('ScaleIntensityd', {'channel_wise': True})
    """
    if scale in ("zscore", "minmax"):
        return ("NormalizeIntensityd" if scale == "zscore" else "ScaleIntensityd"), {"channel_wise": True}
    match = re.fullmatch(f"{NUMBER}:{NUMBER}", scale) if isinstance(scale, str) else None
    low, high = map(float, match.groups()) if match else (0.0, 0.0)
    if not low < high:
        raise ValueError(
            f"Got scale {shown(scale)}, expected zscore, minmax or two numbers in rising order such as '-1000:1000'."
        )
    return "ScaleIntensityRanged", {"a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0, "clip": True}
