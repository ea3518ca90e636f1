"""Intensities scaled as a name says, by MONAI's transforms."""

from __future__ import annotations

from collections.abc import Sequence

from monai import transforms
from monai.transforms import MapTransform

from monai_ima.utils.scaling import scaling_transform

__all__ = ["intensity_bounds", "intensity_scaling"]


def intensity_scaling(scale: str, keys: str | Sequence[str] = "image") -> MapTransform:
    """MONAI's transform for a way to scale intensities.

    Args:
        scale: "zscore": each channel of each image to mean 0 and standard deviation 1 (``NormalizeIntensityd``);
            "minmax": each channel of each image to 0 .. 1 (``ScaleIntensityd``); "LOW:HIGH", such as "-1000:1000" HU:
            that range to 0 .. 1, what is outside is cut off (``ScaleIntensityRanged``).
        keys: of the images.

    Raises:
        ValueError: if ``scale`` is another text.

    Example:
        >>> intensity_scaling("-1000:1000")({"image": torch.tensor([[-2000.0, 0.0, 500.0]])})["image"].tolist()
        [[0.0, 0.5, 0.75]]
    """
    name, arguments = scaling_transform(scale)
    return getattr(transforms, name)(keys, **arguments)


def intensity_bounds(scale: str) -> tuple[float, float] | None:
    """The valid intensities after :func:`intensity_scaling`; None for "zscore", which has no limits.

    Args:
        scale: see :func:`intensity_scaling`.

    Raises:
        ValueError: if ``scale`` is another text.

    Example:
        >>> intensity_bounds("minmax"), intensity_bounds("zscore")
        ((0.0, 1.0), None)
    """
    return None if scaling_transform(scale)[0] == "NormalizeIntensityd" else (0.0, 1.0)
