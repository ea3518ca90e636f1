"""One sample through a network before the work starts: its outputs, its gradient, and what is correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import PILReader
from monai.transforms import CenterSpatialCrop, LoadImage, SpatialPad

from monai_ima.criteria import BinaryCriterion, DiceCriterion, criterion_of_shapes
from monai_ima.utils.errors import one_line, root_cause
from monai_ima.utils.label_maps import first_head
from monai_ima.utils.outputs import choose_output
from monai_ima.utils.tensors import plain

from .model import LoadedModel
from .reading import Files

__all__ = ["Outputs", "check_label_values", "try_network"]

GRADIENT_FREE = ("spsa", "noise")
"""How the names of attacks begin that need no gradient."""


@dataclass(frozen=True)
class Outputs:
    """What a network gives for a sample.

    Attributes:
        task: ``"classification"``, ``"multi-label"`` or ``"segmentation"``.
        channels: number of outputs.
        sigmoid: they are independent of each other.
        image_shape: of the image that it took, ``[C, *spatial]``.
        shape: of its prediction without the batch.
        label_channels: of the label; 1 for class indices.
        several: it returns a tuple, list or dictionary.
    """

    task: str
    channels: int
    sigmoid: bool
    image_shape: tuple[int, ...]
    shape: tuple[int, ...]
    label_channels: int = 1
    several: bool = False


def try_network(model: LoadedModel, files: Files) -> Outputs:
    """Predict the first sample, of a sliding window one window in its middle.

    Args:
        model: the network.
        files: what it is evaluated on.

    Raises:
        ValueError: if the sample cannot be read, the network does not take it, its prediction does not go with the
            label, the task stated is another, or it gives no gradient although attacks need one.
    """
    name = files.items[0]["sample_id"]
    image, label = _first_sample(files)
    image.requires_grad_(True)
    with torch.enable_grad():
        try:
            prediction = model.network(image)
        except Exception as error:
            raise ValueError(
                f"Model {model.file} does not take image {name!r} of shape {list(image.shape[1:])}, expected one that "
                f"it was made for (see --scale, --spacing, --window): {_last_line(error)}."
            ) from error
        logits = choose_output(prediction, files.settings.output)
        _check_gradient(model, files, image, logits)
    outputs = replace(_outputs(files, image, logits.detach(), label), several=not isinstance(prediction, torch.Tensor))
    _check_kept(files, outputs)
    _check_classes(files, outputs)
    return outputs


def _first_sample(files: Files) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and label as a batch of one."""
    transform: Any = ConfigParser({"t": {"_target_": "Compose", "transforms": files.transforms}}).get_parsed_content(
        "t"
    )
    try:
        item = transform(dict(files.items[0]))
    except Exception as error:
        raise ValueError(
            f"Image {files.items[0]['image']} cannot be prepared, expected a file that MONAI reads: "
            f"{_last_line(error)}."
        ) from error
    image, label = plain(item["image"]).float(), torch.as_tensor(plain(item["label"]))
    _check_image(files, image)
    if files.settings.window is not None:
        image, label = (_window(part, files.settings.window) for part in (image, label))
    return image[None].clone(), label[None]


def _check_image(files: Files, image: torch.Tensor) -> None:
    if not image.isfinite().all():
        raise ValueError(f"Image {files.items[0]['image']} holds NaN or infinity, expected finite intensities.")
    channels = files.settings.channels
    if channels is not None and max(channels) >= len(image):
        raise ValueError(
            f"Got channels {','.join(map(str, channels))}, but image {files.items[0]['sample_id']!r} has {len(image)}: "
            f"expected some of 0 to {len(image) - 1}."
        )


def _window(part: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    return plain(CenterSpatialCrop(window)(SpatialPad(window)(part)))


def _last_line(error: BaseException) -> str:
    """What went wrong; of TorchScript's tracebacks the last line."""
    lines = [line for line in str(root_cause(error)).splitlines() if line.strip()]
    return (
        lines[-1].strip().rstrip(".")
        if lines and "TorchScript" in lines[0]
        else one_line(root_cause(error)).rstrip(".")
    )


def _check_gradient(model: LoadedModel, files: Files, image: torch.Tensor, logits: torch.Tensor) -> None:
    names = files.settings.attack_names(files.classes is None).split("+")
    if all(name.startswith(GRADIENT_FREE) for name in names):
        return
    found = "none at all"
    if logits.requires_grad:
        weights = torch.linspace(1, 2, logits.numel()).reshape(logits.shape)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), image, allow_unused=True)
        if gradient is not None and bool((gradient != 0).any()):
            return
        found = "none at all" if gradient is None else "one that is zero everywhere"
    raise ValueError(
        f"Model {model.file} gives no gradient with respect to its image ({found}), as under torch.no_grad or after an "
        "argmax: expected one for attacks that follow it, or --attack spsa100x128."
    )


def _outputs(files: Files, image: torch.Tensor, logits: torch.Tensor, label: torch.Tensor) -> Outputs:
    try:
        logits = first_head(logits, label) if logits.ndim > 2 else logits
        criterion = criterion_of_shapes(logits, label)
    except ValueError as error:
        raise ValueError(
            f"Model {files.settings.model} gives a prediction of shape {list(logits.shape[1:])} for image "
            f"{files.items[0]['sample_id']!r}, whose label is of shape {list(label.shape[1:])}: expected "
            f"{_expected(files)} (see --output)."
        ) from error
    segments = isinstance(criterion, DiceCriterion)
    sigmoid = isinstance(criterion, BinaryCriterion) or getattr(criterion, "sigmoid", False)
    shape = tuple(logits.shape[1:])
    outputs = Outputs(
        "segmentation" if segments else "multi-label" if sigmoid else "classification",
        shape[0] if shape else 1,
        bool(sigmoid),
        tuple(image.shape[1:]),
        shape,
        label.shape[1] if label.ndim == logits.ndim and shape else 1,
    )
    return _as_stated(files, outputs)


def _expected(files: Files) -> str:
    if files.classes is not None:
        return "one number a class"
    window = " or --window for a network that keeps only some sizes," if files.settings.window is None else ""
    return f"maps of the same size,{window}" if window else "maps of the same size"


def _as_stated(files: Files, outputs: Outputs) -> Outputs:
    """The outputs as the options say, which must be possible."""
    settings, one = files.settings, outputs.channels == 1
    found = f"model {settings.model} gives a prediction of shape {list(outputs.shape)}"
    if settings.task not in (None, outputs.task):
        raise ValueError(f"Got task {settings.task}, but {found}: expected none, or --task {outputs.task}.")
    if settings.sigmoid is False and one:
        raise ValueError(f"Got --no_sigmoid, but {found}, a single output: expected no --no_sigmoid.")
    if settings.sigmoid is False and outputs.sigmoid and outputs.label_channels > 1:
        raise ValueError("Got --no_sigmoid, but label maps overlap: expected --sigmoid.")
    if settings.sigmoid is True and not one and outputs.task != "segmentation":
        raise ValueError(f"Got --sigmoid, but {found} and each image has one class: expected no --sigmoid.")
    return outputs if settings.sigmoid is None else replace(outputs, sigmoid=settings.sigmoid)


def _check_kept(files: Files, outputs: Outputs) -> None:
    settings = files.settings
    if settings.save_bundle is None or settings.ignore_index is None:
        return
    if outputs.task == "multi-label":
        raise ValueError(
            "Option --ignore_index cannot be kept for a single output, expected no --save_bundle, or a network with "
            "one output a class."
        )
    if outputs.label_channels > 1:
        raise ValueError(
            f"Option --ignore_index cannot be kept for labels of {outputs.label_channels} channels, expected no "
            "--save_bundle, or labels of class indices."
        )


def _check_classes(files: Files, outputs: Outputs) -> None:
    if files.classes is None:
        return
    most = max(outputs.channels, 2)
    named, has = files.settings.class_names, f"model {files.settings.model} has {outputs.channels} output(s)"
    if named is not None and len(named) != most:
        raise ValueError(f"Got {len(named)} --classes, but {has}: expected {most} names, in the order of its outputs.")
    indices = [str(k) for k in range(len(files.classes))]
    if len(files.classes) < most and files.classes != indices:
        raise ValueError(
            f"Labels of {files.settings.labels or files.settings.images} have the {len(files.classes)} class(es) "
            f"{', '.join(files.classes)}, but {has}: expected --classes with {most} names, in the order of its outputs."
        )
    if len(files.classes) > most:
        raise ValueError(
            f"Labels of {files.settings.labels or files.settings.images} have {len(files.classes)} classes, but {has}: "
            f"expected at most {most} classes (integers are indices from 0 unless --classes is given)."
        )


def check_label_values(files: Files, outputs: Outputs) -> None:
    """Make sure that every label map holds classes of the network only; reads all label maps.

    Args:
        files: with label maps.
        outputs: of the network.

    Raises:
        ValueError: if one holds another value; the sentence names the file.
    """
    most = max(outputs.channels, 2) - 1
    for file, values in _values(files):
        ignored = files.settings.ignore_index
        wrong = [value for value in values if value != ignored and not (0 <= value <= most and value == int(value))]
        if wrong:
            raise ValueError(
                f"Label {file} holds the value {wrong[-1]:g}, but model {files.settings.model} has {outputs.channels} "
                f"output(s): expected integers from 0 to {most} (--ignore_index for one that counts nowhere)."
            )


def _values(files: Files) -> Iterator[tuple[str, list[float]]]:
    """Each label file with its values."""
    load = LoadImage(reader=PILReader() if files.pictures else None, image_only=True)
    for item in files.items:
        try:
            label = load(item["label"])
        except Exception as error:
            raise ValueError(
                f"Label {item['label']} cannot be read, expected a file that MONAI reads: {_last_line(error)}."
            ) from error
        yield item["label"], np.unique(plain(label).numpy()).tolist()
