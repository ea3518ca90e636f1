"""How a training on pictures of one's own read them, kept beside the weights."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from monai_ima.utils.checks import check_bool, shown

from .kept_plan import plan_file, read_plan

__all__ = ["ImagePlan", "kept_image_plan"]


class ImagePlan(BaseModel):
    """How a training read its pictures, and which network it trained.

    Attributes:
        image_size: side in pixels.
        channels: 1 for grey, 3 for colour.
        intensity_range: what becomes 0 and 1; None: 0..255.
        depth: layers of the network.
        normalisation: of the network.
        synthetic: the pictures were those of the phantom.

    Example:
        >>> ImagePlan(channels=3, intensity_range=[0, 4095]).intensity_range
        (0.0, 4095.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = 224
    channels: int = 1
    intensity_range: tuple[float, float] | None = None
    depth: int = 18
    normalisation: str = "instance"
    synthetic: bool = False


def kept_image_plan(weights: str | os.PathLike, own_data: bool, **given: Any) -> ImagePlan:
    """The plan that a training kept beside its weights; without one, what is given, with the phantom the default.

    Args:
        weights: the weights' file.
        own_data: pictures of one's own are given, so that a plan must be known.
        given: values of :class:`ImagePlan`, each that of the training; None: as in the training. The range 0..255 may
            be given where the training had none: NIfTI files and more bits a pixel are read by it.

    Raises:
        FileNotFoundError: if there is none, pictures of one's own are given and the values are not.
        ValueError: if it is damaged, or the training had another value.

    Example:
        >>> kept_image_plan("models/model.pt", False, channels=3, depth=None)
        ImagePlan(image_size=224, channels=3, intensity_range=None, depth=18, normalisation='instance', synthetic=True)
    """
    check_bool("own_data", own_data)
    file = plan_file(weights)
    given = {name: value for name, value in given.items() if value is not None}
    plan = _checked({**given, "synthetic": not own_data})
    if file.is_file():
        kept = read_plan(file, ImagePlan)
        for name in given:
            if _meant(plan, name) != _meant(kept, name):
                trained = f"{shown(getattr(kept, name))}, with which {weights} was trained"
                raise ValueError(f"Got {name} {shown(given[name])}, expected {trained}.")
        return kept.model_copy(update={name: getattr(plan, name) for name in given})
    needed = [name for name in ("image_size", "channels", "depth", "normalisation") if name not in given]
    if own_data and needed:
        raise FileNotFoundError(
            f"File {file} does not exist, expected it beside the weights, where a training keeps it, or the training's "
            f"values (--{', --'.join(needed)}, and --intensity_range where it had one)."
        )
    return plan


def _meant(plan: ImagePlan, name: str) -> Any:
    value = getattr(plan, name)
    return (0.0, 255.0) if name == "intensity_range" and value is None else value


def _checked(given: dict[str, Any]) -> ImagePlan:
    try:
        return ImagePlan.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ValueError(f"Got {name} {shown(given[name])}, expected the training's value ({first['msg']}).") from None
