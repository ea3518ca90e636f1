"""Which channels of a bundle's images are no scanner intensities but clicks, which noise must not touch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from monai.utils import CommonKeys

from monai_ima.utils.checks import check_channels

from .reading import MISSING, Component, TrainingConfig, readable

__all__ = ["CHANNELS_ID", "GuidanceChannels", "find_channels", "image_channels"]

CHANNELS_ID = "attacked_channels"
"""Id of a config that says itself which channels noise may change."""
REPLACING = re.compile(r"AddGuidanceSignal\w*|DiscardAddGuidance")
"""Transforms that put signals behind the first ``number_intensity_ch`` channels (DeepEdit, DeepGrow, MONAI Label)."""
APPENDING = ("AddPointGuidanceSignal", "AddClickSignals", "AddLabelAsGuidance")
"""Transforms that put signals behind all channels that an image has (NuClick)."""
GUIDANCE_KEY = re.compile(r"(?i)click|guid|scribble|seed|signal")
INPUT_CHANNELS = ("in_channels", "n_input_channels", "in_chans", "num_input_channels")


@dataclass(frozen=True)
class GuidanceChannels:
    """The channels that noise may change, where others are guidance.

    Attributes:
        channels: the image's intensities, in rising order.
        description: which transform puts the guidance into the others, or who says so.
    """

    channels: tuple[int, ...]
    description: str


def find_channels(
    config: TrainingConfig, transforms: Sequence[Component], image: str, network: Component | None
) -> GuidanceChannels | None:
    """The channels that a config states, else those of intensities where transforms add guidance; else None.

    Args:
        config: of a training or an evaluation.
        transforms: of its dataset.
        image: key of the images.
        network: whose input channels are counted; None where it is unknown.

    Raises:
        ValueError: if guidance is added, but the intensities among the channels cannot be counted, or what the config
            states are no channels.
    """
    stated = check_channels(config.value(CHANNELS_ID))
    if stated is not None:
        return GuidanceChannels(stated, f"as id {CHANNELS_ID} says")
    found: GuidanceChannels | None = None
    total = image_channels(config, image, network)
    appended, by = 0, ""
    for transform in transforms:
        name = re.sub("(?:d|D|Dict)$", "", transform.name)
        if REPLACING.fullmatch(name) and image in _images(config, transform):
            count = _count(config, transform, "number_intensity_ch", 1)
            found = GuidanceChannels(tuple(range(count)), _description(transform))
        elif name in APPENDING and image in _images(config, transform):
            two = name != "AddLabelAsGuidance" and config.argument(transform, "add_exclusion_map", True) is not False
            appended, by = appended + 1 + two, _description(transform)
        elif name == "ConcatItems" and config.argument(transform, "name") == image:
            found = _concatenated(config, transform, total) or found
    if found is not None or appended == 0:
        return found
    if total is None or total <= appended:
        raise _uncounted(by)
    return GuidanceChannels(tuple(range(total - appended)), by)


def image_channels(config: TrainingConfig, image: str, network: Component | None) -> int | None:
    """How many channels the network takes: of its arguments, else of the metadata; None where neither says it."""
    given = [config.argument(network, name) for name in INPUT_CHANNELS] if network is not None else []
    given.append(config.described("inputs", image).get("num_channels"))
    return next((count for count in given if isinstance(count, int)), None)


def _concatenated(config: TrainingConfig, transform: Component, total: int | None) -> GuidanceChannels | None:
    """The items that are no guidance by their keys; every item has one channel if there are as many as channels."""
    keys = config.keys(transform)
    channels = tuple(k for k, key in enumerate(keys) if not GUIDANCE_KEY.search(key))
    if len(channels) == len(keys):
        return None
    if total != len(keys) or not channels:
        raise _uncounted(_description(transform))
    return GuidanceChannels(channels, _description(transform))


def _images(config: TrainingConfig, transform: Component) -> list[str]:
    """The keys of the images that a transform changes, however its argument is called."""
    given = config.argument(transform, "image", str(CommonKeys.IMAGE.value))
    return config.keys(transform) if "keys" in transform.config else [str(given)]


def _count(config: TrainingConfig, transform: Component, name: str, default: int) -> int:
    value = config.argument(transform, name, MISSING) if transform.at(name) in config else default
    if not isinstance(value, int) or value < 1:
        raise _uncounted(_description(transform))
    return value


def _description(transform: Component) -> str:
    return f"{readable(transform.id)} ({transform.name}) puts guidance into the others"


def _uncounted(description: str) -> ValueError:
    return ValueError(
        f"{description.removesuffix(' into the others')} into the image, but not which channels are intensities can be "
        "inferred, expected those as --channels."
    )
