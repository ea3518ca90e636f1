"""How a bundle will be hardened: the user's settings, and what is inferred from the bundle's config."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_ima import handlers
from monai_ima.criteria import DiceCriterion
from monai_ima.perturbations import Perturbation, perturbation_from_name
from monai_ima.results.pixel_size import PixelSize
from monai_ima.utils.checks import check_bounds
from monai_ima.utils.outputs import Output
from monai_ima.utils.weights import fit_weights, load_weights

from .channels import GuidanceChannels, find_channels, image_channels
from .intensity import Normalisation, find_normalisation
from .network import build_network
from .parts import Parts
from .sample_ids import SampleIdSource, find_sample_ids
from .settings import METHODS, HardenSettings
from .task import Task, find_task, image_key

__all__ = ["Plan", "handler_class", "handler_options", "make_plan"]

BOUNDS_ID = "bounds"
"""Id of a config that says itself what intensities are valid."""
SHARED = {"eps", "eps_max", "norm", "criterion", "bounds", "channels", "output", "perturbation"}
SET_BY_PLAN = {*SHARED, "sample_key", "first_pass", "start_epoch"}
"""Arguments of the handlers that are not options of their own."""

FINE_TUNING = 4
"""Fine-tuning takes one epoch for that many of training from scratch."""
LINF_FRACTION = {"classification": 0.1, "multi-label": 0.1, "segmentation": 0.05}
"""Suggested ε_max in L∞, as a fraction of the scale of intensities; 0.1 is the paper's for OCT scans."""
L2_FRACTION = 0.03
"""Suggested ε_max in L2: root mean square over all pixels, as a fraction of the scale of intensities."""
THRESHOLD = "relative:0.9"
"""A segmentation's threshold when training starts without a trained network."""


@dataclass(frozen=True)
class Plan:
    """How a bundle will be hardened.

    Attributes:
        settings: as the user gave them.
        parts: of the bundle.
        task: what the network is trained to do.
        image_key: key of the images in the data.
        normalisation: how the bundle scales intensities; None where that cannot be inferred.
        image_values: values in one image of training that noise may change; None where that cannot be inferred.
        norm: ``"l2"`` or ``"linf"``, of a perturbation that of its parameters.
        perturbation: what ε measures; None: noise, pixel by pixel.
        eps_max: ε_max > 0, or ε of the methods with one radius.
        bounds: valid intensities or None.
        guidance: which channels noise may change; None where that is all of them.
        threshold: a segmentation's threshold; None for classifiers.
        batch_norm: the network has batch normalisation; None where that is unknown.
        sample_ids: where sample ids come from.
        pretrained: the checkpoint that training starts from, or None.
        epochs: how many to train; None leaves the bundle's number as it is.
        val_eps: ε > 0 of robust validation.
        output: index or key of the network's output that counts; None: the first.
    """

    settings: HardenSettings
    parts: Parts
    task: Task
    image_key: str
    normalisation: Normalisation | None
    image_values: int | None
    norm: str
    perturbation: Perturbation | None
    eps_max: float
    bounds: tuple[float, float] | None
    guidance: GuidanceChannels | None
    threshold: float | str | None
    batch_norm: bool | None
    sample_ids: SampleIdSource
    pretrained: Path | None
    epochs: int | None
    val_eps: float
    output: Output

    @property
    def pixel_size(self) -> PixelSize:
        """What ε is worth in a pixel of the images, or its unit."""
        units = None if self.normalisation is None else self.normalisation.units
        measured = None if self.perturbation is None else self.perturbation.label
        return PixelSize.of(self.norm, self.image_values, units, measured)

    @property
    def overlay_file(self) -> Path:
        """Where the overlay is written to."""
        return self.parts.config.root / "configs" / f"train_{self.settings.method}.json"

    @property
    def robust_validation(self) -> bool:
        """The bundle has an evaluator with a key metric, which is measured under attack too."""
        return self.parts.key_metric is not None


def handler_class(method: str) -> Any:
    """The handler of a method."""
    return getattr(handlers, METHODS[method])


def handler_options(method: str) -> list[str]:
    """The arguments of a method's handler that are options of their own."""
    return sorted(set(inspect.signature(handler_class(method)).parameters) - SET_BY_PLAN)


def make_plan(parts: Parts, settings: HardenSettings) -> Plan:
    """Infer what the settings leave open.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if a setting does not suit the bundle or cannot be inferred, or the checkpoint does not fit.
    """
    method = settings.method
    task = find_task(parts.clues, settings.task, settings.sigmoid, settings.ignore_index)
    if method == "mma" and (task.kind != "classification" or task.sigmoid):
        raise ValueError(
            f"Got method mma for {task.description}, expected a classification with one class out of several."
        )
    if settings.threshold is not None and task.kind != "segmentation":
        raise ValueError(f"Got threshold {settings.threshold!r} for {task.description}, expected a segmentation.")
    if settings.min_clean is not None and parts.key_metric is None:
        raise ValueError("Got min_clean, expected a bundle with an evaluator that has a key metric (key_val_metric).")
    perturbation = None if settings.perturbation is None else perturbation_from_name(settings.perturbation)
    norm = settings.norm or ("l2" if method == "ddn" else "linf") if perturbation is None else perturbation.norm.name
    key = image_key(parts.config, parts.transforms)
    normalisation = find_normalisation(parts.config, parts.transforms, key)
    guidance = _guidance(parts, settings, key)
    usual = perturbation.levels[-1] if perturbation is not None else None
    eps_max = settings.eps_max or usual or _suggest_eps(parts, task, normalisation, norm, guidance)
    _handler(method, eps_max, norm, perturbation, settings)
    pretrained = _pretrained(parts, settings)
    network = build_network(parts)
    weights = None if pretrained is None else load_weights(pretrained)
    if network is not None and weights is not None:
        fit_weights(network, weights, str(pretrained))
    epochs, bundle_epochs = settings.epochs, parts.config.get(parts.epochs_id)
    if epochs is None and pretrained is not None and isinstance(bundle_epochs, int):
        epochs = math.ceil(bundle_epochs / FINE_TUNING)
    return Plan(
        settings=settings,
        parts=parts,
        task=task,
        image_key=key,
        normalisation=normalisation,
        image_values=_image_size(parts, guidance),
        norm=norm,
        perturbation=perturbation,
        eps_max=eps_max,
        bounds=_bounds(parts, settings, normalisation),
        guidance=guidance,
        threshold=_threshold(parts, settings, pretrained) if task.kind == "segmentation" else None,
        batch_norm=_batch_norm(network, weights),
        sample_ids=find_sample_ids(parts.config, parts.dataset, parts.all_transforms, key),
        pretrained=pretrained,
        epochs=epochs,
        val_eps=settings.val_eps or eps_max / 2,
        output=task.output if settings.output is None else settings.output,
    )


def _handler(
    method: str, eps_max: float, norm: str, perturbation: Perturbation | None, settings: HardenSettings
) -> None:
    """Build the handler, which checks its arguments."""
    measured = {"perturbation": perturbation} if perturbation is not None else {} if method == "ddn" else {"norm": norm}
    handler_class(method)(eps_max, **measured, **settings.handler_options)


def _bounds(parts: Parts, settings: HardenSettings, normalisation: Normalisation | None) -> Any:
    """As given, else as the config states them, else as the images are scaled to."""
    stated = check_bounds(parts.config.value(BOUNDS_ID)) if settings.bounds is None else settings.bounds
    return normalisation.bounds if stated is None and normalisation is not None else stated


def _guidance(parts: Parts, settings: HardenSettings, image: str) -> GuidanceChannels | None:
    if settings.channels is None:
        return find_channels(parts.config, parts.transforms, image, parts.network)
    total = image_channels(parts.config, image, parts.network)
    if total is not None and settings.channels[-1] >= total:
        raise ValueError(f"Got channels {settings.channels} for images of {total} channels, expected some of them.")
    return GuidanceChannels(tuple(settings.channels), "as given")


def _pretrained(parts: Parts, settings: HardenSettings) -> Path | None:
    if settings.pretrained is not None:
        return Path(settings.pretrained)
    trained = parts.config.root / "models" / "model.pt"
    return trained if trained.is_file() else None


def _threshold(parts: Parts, settings: HardenSettings, pretrained: Path | None) -> float | str:
    threshold = settings.threshold
    if threshold is None:
        threshold = "baseline" if pretrained is not None and parts.evaluator is not None else THRESHOLD
    DiceCriterion(threshold)
    return threshold


def _suggest_eps(
    parts: Parts, task: Task, normalisation: Normalisation | None, norm: str, guidance: GuidanceChannels | None
) -> float:
    if normalisation is None:
        raise ValueError(
            f"The training transforms of {parts.config.files[-1]} scale intensities in no way that is known, expected "
            "--eps_max, in the units that the network sees."
        )
    if norm == "linf":
        return LINF_FRACTION[task.kind] * normalisation.scale
    size = _image_size(parts, guidance)
    if size is None:
        raise ValueError(
            f"The image size of {parts.config.files[-1]} cannot be inferred, expected --eps_max for norm l2, in the "
            "units that the network sees."
        )
    return float(f"{L2_FRACTION * normalisation.scale * math.sqrt(size):.2g}")


def _image_size(parts: Parts, guidance: GuidanceChannels | None) -> int | None:
    """Values in one image that noise may change: from the metadata, else from the last crop or resizing."""
    described = parts.config.described("inputs", "image")
    channels = described.get("num_channels") if guidance is None else len(guidance.channels)
    shapes = [described.get("spatial_shape")]
    for transform in reversed(parts.transforms):
        shapes += [parts.config.argument(transform, name) for name in ("spatial_size", "roi_size")]
    for shape in shapes:
        if isinstance(shape, list) and shape and all(isinstance(n, int) and n > 0 for n in shape):
            return math.prod(shape) * (channels if isinstance(channels, int) else 1)
    return None


def _batch_norm(network: nn.Module | None, weights: Mapping[str, torch.Tensor] | None) -> bool | None:
    if network is not None:
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    return None if weights is None else any(name.endswith("running_mean") for name in weights)
