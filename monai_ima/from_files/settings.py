"""What an evaluation of files, without a bundle, is asked for. No torch: ``--help`` shows the fields."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from monai_ima.results.settings import EvaluationSettings, FilePath, Text
from monai_ima.utils.checks import check_count, check_positive, shown
from monai_ima.utils.scaling import scaling_transform

from .places import check_places

__all__ = ["FILE_OPTIONS", "FileSettings", "parsed_arguments"]

FILE_OPTIONS = (
    "network",
    "network_args",
    "images",
    "labels",
    "classes",
    "scale",
    "spacing",
    "orientation",
    "window",
    "save_bundle",
)
"""Options that go with ``--model`` only; a bundle's config may have ids of these names."""

PLACES = ("model", "images", "labels", "out", "save_bundle")

ALL_ALIKE = "ScaleIntensityRanged"
"""The transform that scales all images alike."""

MODEL = "TorchScript file, or a checkpoint with a state dict (then with --network): evaluate it without a bundle."
NETWORK = "Class of a state dict's network, such as monai.networks.nets.UNet. Its code is run."
NETWORK_ARGS = 'Arguments of --network as JSON, such as \'{"spatial_dims": 3, "in_channels": 1, ...}\'.'
IMAGES = "Folder of NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF files; without --labels its folders are the classes."
LABELS = "Folder of label maps named as the images, or a CSV file with the columns image, label and maybe patient."
CLASSES = (
    "Names of all classes in the order of the network's outputs, separated by commas; the second is positive of one."
)
SCALE = "Of intensities: minmax, zscore (each image by its own), or lo:hi to 0..1, such as -1000:1000; default: none."
SPACING = "Resample volumes to this many mm in a voxel, such as 1,1,1."
ORIENTATION = "Turn volumes, such as to RAS; default: as in the files."
WINDOW = "Predict by a sliding window of this many voxels, such as 96,96,96."
SAVE_BUNDLE = "Also write it all as a MONAI bundle to this new folder, for harden and MONAI's own tools."


def _scale(value: Any) -> Any:
    if value is not None:
        scaling_transform(value)
    return value


def _numbers(name: str, check: Any) -> BeforeValidator:
    def checked(value: Any) -> Any:
        if value is None:
            return None
        numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        return tuple(check(name, number) for number in numbers)

    return BeforeValidator(checked)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _classes(value: Any) -> str | None:
    if value is None:
        return None
    names = _names(value) if isinstance(value, str) else []
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"Got classes {shown(value)}, expected different names separated by commas, such as cat,dog.")
    return value


def _orientation(value: Any) -> str | None:
    if value is None:
        return None
    axes = ["".join(sorted(axis)) for axis in ("LR", "AP", "IS")]
    found = sorted(axis for code in str(value) for axis in axes if code in axis)
    if not isinstance(value, str) or found != sorted(axes) or len(value) != 3:
        raise ValueError(f"Got orientation {shown(value)}, expected one of L R, A P and I S each, such as RAS.")
    return value


def _arguments(value: Any) -> str | None:
    if value is not None:
        parsed_arguments(value)
    return value


def parsed_arguments(text: str) -> dict[str, Any]:
    """The arguments of a network, written as JSON or as a dictionary of Python's literals.

    Raises:
        ValueError: if they are neither.
    """
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return dict(value)
    raise ValueError(f"Got network_args {shown(text)}, expected JSON such as '{{\"spatial_dims\": 3}}'.")


class FileSettings(EvaluationSettings):
    """The settings of an evaluation of a bundle, or of a model file and images.

    Raises:
        FileNotFoundError: if the file of ``groups`` does not exist.
        ValueError: if a value is not as stated, or the settings do not go together.

    Example:
        >>> FileSettings(model="m.ts", images="scans", labels="masks", levels=0.1, out="run", scale="-1000:1000").scale
        '-1000:1000'
    """

    model: Annotated[FilePath, MODEL] = None
    network: Annotated[Text, NETWORK] = None
    network_args: Annotated[str | None, BeforeValidator(_arguments), NETWORK_ARGS] = None
    images: Annotated[FilePath, IMAGES] = None
    labels: Annotated[FilePath, LABELS] = None
    classes: Annotated[str | None, BeforeValidator(_classes), CLASSES] = None
    scale: Annotated[str | None, BeforeValidator(_scale), SCALE] = None
    spacing: Annotated[tuple[float, ...] | None, _numbers("spacing", check_positive), SPACING] = None
    orientation: Annotated[str | None, BeforeValidator(_orientation), ORIENTATION] = None
    window: Annotated[
        tuple[int, ...] | None, _numbers("window", lambda name, value: check_count(name, value, 1)), WINDOW
    ] = None
    save_bundle: Annotated[FilePath, SAVE_BUNDLE] = None

    def arguments(self) -> dict[str, Any]:
        """Option and value, as JSON has them; those of files only where they are given."""
        values = super().arguments()
        return {k: v for k, v in values.items() if v is not None or k not in ("model", *FILE_OPTIONS)}

    @property
    def class_names(self) -> list[str] | None:
        """The names in ``classes``."""
        return None if self.classes is None else _names(self.classes)

    @property
    def from_command_line(self) -> bool:
        """These settings are those of the command line, whatever is evaluated."""
        return True

    @model_validator(mode="after")
    def _bundle_or_files(self) -> Self:
        if self.model is None:
            for name in FILE_OPTIONS:
                if getattr(self, name) is not None:
                    raise ValueError(f"Option --{name} is for --model, expected --model FILE too.")
            if self.bundle is None:
                raise ValueError("Got neither --bundle nor --model, expected one of them.")
            return self
        for name in ("bundle", "config", "checkpoint"):
            if getattr(self, name) is not None:
                raise ValueError(f"Options --{name} and --model exclude each other, expected one of them.")
        for name, value in (("images", self.images), ("out", self.out)):
            if value is None:
                raise ValueError(f"Option --{name} is missing, expected a folder with --model (see --help).")
        if self.units == "raw" and (self.scale is None or scaling_transform(self.scale)[0] != ALL_ALIKE):
            raise ValueError(
                f"Option --scale {self.scale} does not scale all images alike, so that levels in raw intensities are "
                "not defined: expected --units network, or --scale lo:hi."
            )
        if self.network_args is not None and self.network is None:
            raise ValueError("Option --network_args is for --network, expected both.")
        check_places({name: getattr(self, name) for name in PLACES})
        return self
