"""What a training on volumes of one's own is sized by, read from the scans and kept beside the weights."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from pydantic import BaseModel, ConfigDict, Field

from monai_ima.utils.checks import check_bool, check_text, shown
from monai_ima.utils.text import read_text

from .folders import Item, dataset_folder
from .headers import read_header
from .kept_plan import plan_file, read_plan
from .volume_files import channel_files, in_threads, read_voxels

__all__ = ["VolumePlan", "kept_plan", "msd_class_names", "volume_plan"]

LARGEST = 96
"""Most voxels along each axis of a window that is chosen."""

PACKAGES = {"SwinUNETR": "einops"}
"""What MONAI's networks need besides MONAI."""

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

logger = logging.getLogger(__name__)


class VolumePlan(BaseModel):
    """What a training is sized by.

    Attributes:
        network: name of the network.
        scale: how intensities are scaled.
        channels: of every image.
        class_names: the background first.
        spacing: of the voxels after resampling, in mm along right, front and up (RAS).
        patch_size: of the network's windows, in these voxels.
        synthetic: the scans were those of the phantom.

    Example:
        >>> plan = VolumePlan(
        ...     network="UNet",
        ...     scale="zscore",
        ...     channels=1,
        ...     class_names=["background", "liver"],
        ...     spacing=(1, 1, 3),
        ...     patch_size=(96, 96, 32),
        ... )
        >>> plan.spacing
        (1.0, 1.0, 3.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    scale: str
    channels: Count
    class_names: Annotated[list[str], Field(min_length=2)]
    spacing: tuple[Length, Length, Length]
    patch_size: tuple[Count, Count, Count]
    synthetic: bool = False


def volume_plan(
    scans: Sequence[Item],
    network: str,
    strides: Mapping[str, int],
    scale: str = "zscore",
    class_names: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    synthetic: bool = False,
) -> VolumePlan:
    """Size a training by its scans.

    The spacing is the median of the scans', axis by axis. A window is along each axis the largest multiple of the
    network's stride that fits into the median scan, from the stride to 96 voxels; one whose every side is the stride
    is doubled along the scan's longest axis, so that the network's lowest level has more than one voxel. Classes are
    the labels' values.

    Args:
        scans: of the training: ``{"image": file(s), "label": file}``. Images' headers and whole labels are read.
        network: one of ``strides``.
        strides: of each network from its input to its lowest level: the sides of its windows are multiples.
        scale: how intensities are scaled, which is only noted.
        class_names: the background first; None: "background", "class 1", ... for the values found.
        spacing: in mm along right, front and up, each > 0; None: as above.
        patch_size: of the windows, in voxels of that spacing; None: as above.
        synthetic: the scans are those of the phantom, which is only noted.

    Raises:
        ValueError: if there is no scan, no such network (the sentence names the nearest), labels hold values that are
            no integers >= 0, leave one out, or have no name; or a window is too small or no multiple of the stride.
        ImportError: if the network needs a package that is missing.
        DamagedImageError: if a file cannot be read.
    """
    if not isinstance(scans, Sequence) or not scans:
        raise ValueError(f"Got scans {shown(scans)}, expected at least one for the training.")
    check_text("scale", scale)
    check_bool("synthetic", synthetic)
    stride = _stride(network, strides)
    given_window = None if patch_size is None else _three("patch_size", patch_size)
    if given_window is not None:
        _check_window(given_window, stride, network)
    given_spacing = None if spacing is None else _three("spacing", spacing)
    classes = _classes(scans, class_names)
    headers = [read_header(channel_files(scan)[0]) for scan in scans]
    spacings, shapes = map(np.array, zip(*(_in_ras(header.affine, header.shape) for header in headers), strict=True))
    target = np.median(spacings, axis=0) if given_spacing is None else given_spacing
    median = np.median(np.rint(shapes * spacings / target), axis=0)
    window = _window(median, stride) if given_window is None else given_window
    plan = VolumePlan.model_validate(
        {
            "network": network,
            "scale": scale,
            "channels": sum(read_header(file).channels for file in channel_files(scans[0])),
            "class_names": classes,
            "spacing": [round(float(length), 6) for length in target],
            "patch_size": [int(side) for side in window],
            "synthetic": synthetic,
        }
    )
    logger.info("Read from %d training scans (median %s voxels): %s.", len(scans), _by(median), plan)
    return plan


def msd_class_names(dataset_dir: str | os.PathLike) -> list[str] | None:
    """The names of the classes, the background first, that the dataset.json of a folder holds; None where it has none.

    Args:
        dataset_dir: folder in the layout of the Medical Segmentation Decathlon.

    Raises:
        FileNotFoundError: if the folder is missing.
        ValueError: if dataset.json cannot be read, or its ``labels`` are not ``{"0": "background", "1": ...}``.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "dataset.json").write_text('{"labels": {"0": "background", "1": "liver"}}')
        >>> msd_class_names(root)
        ['background', 'liver']
    """
    file = dataset_folder(dataset_dir, "a dataset.json") / "dataset.json"
    if not file.is_file():
        return None
    expected = 'names of the classes as {"0": "background", "1": "..."}'
    try:
        labels = json.loads(read_text(file)).get("labels")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"File {file} cannot be read ({error}), expected a dataset.json.") from error
    if labels is None:
        return None
    numbers = [str(number) for number in range(len(labels))] if isinstance(labels, Mapping) else []
    if not numbers or set(labels) != set(numbers):
        raise ValueError(f'Entry "labels" of {file} is {shown(labels)}, expected {expected}.')
    return [str(labels[number]) for number in numbers]


def kept_plan(weights: str | os.PathLike, scale: str | None = None) -> VolumePlan:
    """The plan that a training kept beside its weights.

    Args:
        weights: the weights' file.
        scale: how intensities are scaled here; None: as in the training.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or the training scaled intensities otherwise.
    """
    file = plan_file(weights)
    if not file.is_file():
        raise FileNotFoundError(
            f"File {file} does not exist, expected it beside the weights, where a training keeps it."
        )
    plan = read_plan(file, VolumePlan)
    if scale is not None and scale != plan.scale:
        raise ValueError(f"Got scale {shown(scale)}, expected {plan.scale}, with which {weights} was trained.")
    return plan


def _stride(network: str, strides: Mapping[str, int]) -> int:
    if not isinstance(network, str) or network not in strides:
        near = {name.lower(): name for name in strides}
        found = get_close_matches(str(network).lower(), near, 1, cutoff=0.0)
        raise ValueError(
            f"Unknown network {shown(network)}, expected one of {', '.join(strides)} (the nearest is {near[found[0]]})."
        )
    package = PACKAGES.get(network)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ImportError(f"Network {network} needs the package {package}, expected it to be installed.")
    return strides[network]


def _three(name: str, values: Any) -> np.ndarray:
    numbers = np.asarray(values)
    kinds, what = ("iu", "integers") if name == "patch_size" else ("iuf", "numbers")
    if numbers.shape != (3,) or numbers.dtype.kind not in kinds or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError(f"Got {name} {shown(values)}, expected three {what} > 0.")
    return numbers


def _in_ras(affine: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Spacing and shape along the axes right, front and up."""
    order = np.argsort(io_orientation(affine)[:, 0])
    return voxel_sizes(affine)[order], np.array(shape)[order]


def _window(median: np.ndarray, stride: int) -> np.ndarray:
    sides = np.clip(median // stride * stride, stride, LARGEST // stride * stride)
    if (sides == stride).all():
        sides[int(median.argmax())] = 2 * stride
    return sides


def _check_window(window: np.ndarray, stride: int, network: str) -> None:
    if (window % stride).any() or (window == stride).all():
        raise ValueError(
            f"Got patch_size {_by(window)}, expected multiples of {stride} for {network}, along one axis {2 * stride} "
            "at least."
        )


def _classes(scans: Sequence[Item], names: Sequence[str] | None) -> list[str]:
    """The names of the classes in the labels."""
    if names is not None and (isinstance(names, str) or len(names) < 2):
        raise ValueError(f"Got class_names {shown(names)}, expected two names at least, the background first.")
    allowed = None if names is None else len(names)
    files: dict[int, str] = {}
    for scan, values in zip(scans, in_threads(partial(_label_values, allowed=allowed), scans), strict=True):
        for value in values:
            files.setdefault(value, scan["label"])
    if names is not None:
        return list(map(str, names))
    highest = max(files)
    gap = next((value for value in range(highest) if value not in files), None)
    if gap is not None or highest == 0:
        missing = 1 if gap is None else gap
        raise ValueError(
            f"The labels of the training scans hold the values {', '.join(map(str, sorted(files)))} (label "
            f"{files[highest]} the {highest}), expected classes numbered from 0 without a gap: {missing} is missing."
        )
    return ["background", *(f"class {value}" for value in range(1, highest + 1))]


def _label_values(scan: Item, allowed: int | None) -> list[int]:
    values = np.unique(read_voxels(scan["label"])[0])
    wrong = values[(values != np.rint(values)) | (values < 0) | (values >= (np.inf if allowed is None else allowed))]
    if wrong.size:
        limit = "integers >= 0" if allowed is None else f"integers from 0 to {allowed - 1}, one for each name"
        raise ValueError(f"Label {scan['label']} holds the value {wrong[0]:g}, expected {limit}.")
    return [int(value) for value in values]


def _by(numbers: Iterable[float]) -> str:
    return "x".join(f"{number:g}" for number in numbers)
