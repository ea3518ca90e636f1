"""The settings that a bundle is hardened with: worked out from its config, shown, and overridden from outside."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent
from torch import nn

from monai_ima import handlers as our_handlers
from monai_ima.criteria import DiceCriterion
from monai_ima.utils.checks import check_bounds, check_count, check_positive, is_number
from monai_ima.utils.errors import one_line, root_cause
from monai_ima.utils.sample_ids import SAMPLE_ID
from monai_ima.utils.weights import fit_weights, load_weights

from .intensity import Normalisation, find_normalisation
from .parts import Parts
from .reading import SEPARATOR, Component, readable
from .task import Task, find_task, image_key

__all__ = ["METHODS", "Plan", "make_plan"]

METHODS = {
    "ima": our_handlers.IMAHandler,
    "pgd": our_handlers.PGDTrainingHandler,
    "trades": our_handlers.TRADESHandler,
    "iaat": our_handlers.IAATHandler,
    "mma": our_handlers.MMAHandler,
    "ddn": our_handlers.DDNHandler,
}
FINE_TUNING = 4
"""Fine-tuning takes one epoch for that many of training from scratch."""
LINF_SHARE = {"classification": 0.1, "multi-label": 0.1, "segmentation": 0.05}
"""Suggested ε_max in L∞, as a share of the scale of intensities; 0.1 is the paper's for OCT scans."""
L2_SHARE = 0.03
"""Suggested ε_max in L2: root mean square of the noise over all pixels, as a share of the scale of intensities."""
THRESHOLD = "relative:0.9"
"""A segmentation's threshold when training starts without a trained network."""
STRIPPING = ("ToNumpy", "Lambda", "TorchVision", "ToPIL", "ToCupy", "NumpyD")
KEEPS_ITEMS = (
    "Dataset",
    "CacheDataset",
    "SmartCacheDataset",
    "PersistentDataset",
    "CacheNTransDataset",
    "LMDBDataset",
    "GDSDataset",
)
"""Datasets that hand all keys of an item of their ``data`` to the transforms."""
CACHES_ON_DISK = ("PersistentDataset", "CacheNTransDataset", "LMDBDataset", "GDSDataset")
OWN = {"eps", "eps_max", "norm", "delta", "beta", "criterion", "bounds", "sample_key", "first_pass", "start_epoch"}


@dataclass(frozen=True)
class Plan:
    """How a bundle will be hardened; prints as the summary for the user.

    Attributes:
        parts: of the bundle.
        method: one of :data:`METHODS`.
        task: what the network is trained to do.
        image: key of the images in the data.
        normalisation: what a unit of the network's intensities is worth; None where that cannot be read.
        norm: ``"l2"`` or ``"linf"``.
        eps_max: ε_max, or ε of the methods with one radius.
        arguments: further arguments of the method's handler.
        bounds: valid intensities or None.
        threshold: a segmentation's threshold; None for classifiers.
        batch_norm: the network has batch normalisation; None where that cannot be read.
        identity: where sample ids come from: ``"there"``, ``"files"``, ``"data"``, ``"transform"`` or
            ``"dataset"``.
        pretrained: the checkpoint that training starts from, or None.
        pretrained_in_bundle: it is the bundle's own ``models/model.pt``.
        epochs: how many to train; None leaves the bundle's number as it is.
        epochs_id: where that number stands in the config.
        robust_validation: the bundle has an evaluator with a key metric.
        val_eps: ε of robust validation.
        val_steps: PGD steps of robust validation.
        min_clean: what the clean key metric must reach for weights to be kept.
    """

    parts: Parts
    method: str
    task: Task
    image: str
    normalisation: Normalisation | None
    norm: str
    eps_max: float
    arguments: Mapping[str, Any]
    bounds: tuple[float, float] | None
    threshold: float | str | None
    batch_norm: bool | None
    identity: str
    pretrained: Path | None
    pretrained_in_bundle: bool
    epochs: int | None
    epochs_id: str
    robust_validation: bool
    val_eps: float
    val_steps: int
    min_clean: float | None

    @property
    def delta(self) -> float | None:
        """δ as given, else what ``IMAHandler`` will take; None where the number of epochs is unknown."""
        if self.arguments.get("delta") is not None:
            return float(self.arguments["delta"])
        epochs = self.epochs or self.parts.config.value(self.epochs_id)
        interval = self.arguments.get("update_interval", 1) if self.arguments.get("update") != "online" else 1
        return min(self.eps_max / epochs * interval, self.eps_max) if isinstance(epochs, int) and epochs else None

    def __str__(self) -> str:
        epochs = self.epochs or self.parts.config.value(self.epochs_id)
        lines = [
            ("bundle", f"{self.parts.config.root} ({', '.join(file.name for file in self.parts.config.files)})"),
            ("trainer", f"{readable(self.parts.trainer.id)} ({self.parts.trainer.name})"),
            ("task", self.task.words),
            ("network", _name(self.parts.network)),
            ("loss", _name(self.parts.loss)),
            (
                "batch norm",
                {True: "yes, attacks leave its statistics alone", False: "no", None: "unknown"}[self.batch_norm],
            ),
            ("method", f"{self.method} ({METHODS[self.method].__name__}), norm {self.norm}"),
            ("intensities", self.normalisation.words if self.normalisation else "unknown normalisation"),
            ("eps_max", self._with_unit(self.eps_max)),
        ]
        if self.method == "ima":
            delta = self.delta
            lines.append(("delta", "eps_max / epochs" if delta is None else self._with_unit(delta)))
        lines += [
            ("bounds", "none" if self.bounds is None else f"[{self.bounds[0]:g}, {self.bounds[1]:g}]"),
            ("right when", self._right()),
            ("sample ids", IDENTITIES[self.identity]),
            (
                "start",
                f"weights of {self.pretrained}" if self.pretrained else "as the bundle starts, no checkpoint given",
            ),
            ("epochs", "as in the bundle" if epochs is None else f"{epochs} (id {readable(self.epochs_id)})"),
            ("validation", self._validation()),
        ]
        return "\n".join(f"{name:>12}  {text}" for name, text in lines)

    def _with_unit(self, eps: float) -> str:
        physical = self.normalisation.physical(eps) if self.normalisation else ""
        if not physical:
            return f"{eps:.4g}"
        return f"{eps:.4g} = {physical}" + (" in every pixel" if self.norm == "linf" else " in L2")

    def _right(self) -> str:
        if self.task.kind == "segmentation":
            return f"Dice reaches the threshold {self.threshold}"
        return "every output is on its side of 0.5" if self.task.sigmoid else "the label's logit is the largest"

    def _validation(self) -> str:
        if not self.robust_validation:
            return "none under attack: the bundle has no evaluator with a key metric"
        keep = (
            ""
            if self.min_clean is None
            else f", weights are kept while the clean metric is at least {self.min_clean:g}"
        )
        return f"clean, and under PGD of {self.val_steps} steps at eps {self._with_unit(self.val_eps)}{keep}"


IDENTITIES = {
    "there": "in the data already",
    "files": "names of the image files",
    "data": "added to the items of the data (monai_ima.data.identified)",
    "transform": "added by SampleIdd in front of the transforms",
    "dataset": "numbers of the dataset's items (monai_ima.data.identified)",
}


def make_plan(
    parts: Parts,
    method: str = "ima",
    eps_max: float | None = None,
    norm: str | None = None,
    pretrained: str | Path | None = None,
    min_clean: float | None = None,
    task: str | None = None,
    sigmoid: bool | None = None,
    bounds: Sequence[float] | None = None,
    threshold: float | str | None = None,
    epochs: int | None = None,
    val_eps: float | None = None,
    val_steps: int = 20,
    **arguments: Any,
) -> Plan:
    """Work out the settings of a hardening; what is given counts.

    Raises:
        FileNotFoundError: when the checkpoint does not exist.
        ValueError: when a setting is not as expected, cannot be worked out, or the checkpoint does not fit.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}, expected one of {', '.join(METHODS)}.")
    _check_arguments(method, arguments)
    found = find_task(parts, task, sigmoid)
    if method == "mma" and (found.kind != "classification" or found.sigmoid):
        raise ValueError(f"Got method mma for {found.words}, expected a classification with one class out of several.")
    if method == "ddn" and norm not in (None, "l2"):
        raise ValueError(
            f"Got norm {norm!r} for method ddn, expected l2: its attack looks for the nearest point in L2."
        )
    norm = norm or ("l2" if method == "ddn" else "linf")
    if norm not in ("l2", "linf"):
        raise ValueError(f"Unknown norm {norm!r}, expected 'l2' or 'linf'.")
    image = image_key(parts)
    normalisation = find_normalisation(parts.config, parts.transforms, image)
    radius = check_positive("eps_max", eps_max) if eps_max is not None else _suggest(parts, found, normalisation, norm)
    own = parts.config.root / "models" / "model.pt"
    in_bundle = pretrained is None and own.is_file()
    checkpoint = own if in_bundle else None if pretrained is None else Path(pretrained)
    network = build_network(parts)
    weights = None if checkpoint is None else load_weights(checkpoint)
    if network is not None and weights is not None:
        fit_weights(network, weights, str(checkpoint))
    epochs_id, before = parts.config.follow(f"{parts.trainer.id}{SEPARATOR}max_epochs")
    if epochs is None and checkpoint is not None and isinstance(before, int):
        epochs = math.ceil(before / FINE_TUNING)
    epochs = None if epochs is None else check_count("epochs", epochs, 1)
    limits = None if bounds is None else check_bounds(bounds)
    robust = parts.evaluator is not None and parts.key_metric is not None
    if found.kind == "segmentation" and threshold is None:
        threshold = "baseline" if checkpoint is not None and parts.evaluator is not None else THRESHOLD
    if found.kind == "segmentation" and threshold is not None:
        DiceCriterion(threshold)
    if min_clean is not None and not is_number(min_clean):
        raise ValueError(f"Got min_clean {min_clean!r}, expected a value of the clean key metric.")
    if min_clean is not None and not robust:
        raise ValueError("Got min_clean, expected a bundle with an evaluator that has a key metric (key_val_metric).")
    METHODS[method](radius, **({} if method == "ddn" else {"norm": norm}), **arguments)
    return Plan(
        parts=parts,
        method=method,
        task=found,
        image=image,
        normalisation=normalisation,
        norm=norm,
        eps_max=radius,
        arguments=arguments,
        bounds=normalisation.bounds if limits is None and normalisation else limits,
        threshold=threshold if found.kind == "segmentation" else None,
        batch_norm=_batch_norm(network, weights),
        identity=_identity(parts, image),
        pretrained=checkpoint,
        pretrained_in_bundle=in_bundle,
        epochs=epochs,
        epochs_id=epochs_id,
        robust_validation=robust,
        val_eps=radius / 2 if val_eps is None else check_positive("val_eps", val_eps),
        val_steps=check_count("val_steps", val_steps, 1),
        min_clean=min_clean,
    )


def build_network(parts: Parts) -> nn.Module | None:
    """The network where MONAI's own class and plain arguments make it; None where an expression, other code or a
    download does."""
    if parts.network is None:
        return None
    module = ComponentLocator().get_component_module_name(parts.network.name)
    modules = [module] if isinstance(module, str) else module or []
    target = str(parts.network.config["_target_"])
    if not any(
        name.startswith("monai.networks.")
        and target in (parts.network.name, f"{name}.{parts.network.name}", f"monai.networks.nets.{parts.network.name}")
        for name in modules
    ):
        return None
    network_class = getattr(importlib.import_module(modules[0]), parts.network.name)
    downloads = {
        name: parameter.default
        for name, parameter in inspect.signature(network_class).parameters.items()
        if name.startswith("pretrained")
    }
    missing = object()
    arguments: dict[str, Any] = {}
    for name in parts.network.config.keys() - ConfigComponent.non_arg_keys:
        value = parts.config.value(f"{parts.network.id}{SEPARATOR}{name}", missing)
        if value is missing:
            return None
        arguments[name] = value
    if any({**downloads, **arguments}[name] for name in downloads):
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            return ConfigComponent({"_target_": target, **arguments}).instantiate()  # type: ignore[return-value]
    except Exception as error:
        reason = one_line(root_cause(error))
        raise ValueError(
            f"Network {readable(parts.network.id)!r} ({target}) cannot be built from its arguments, expected a valid "
            f"config: {reason.rstrip('.')}."
        ) from None


def _check_arguments(method: str, arguments: Mapping[str, Any]) -> None:
    known = set(inspect.signature(METHODS[method]).parameters) - (OWN - {"delta", "beta"})
    strange = sorted(set(arguments) - known)
    if strange:
        raise ValueError(
            f"Unknown option --{strange[0]} of method {method}, expected one of {', '.join(sorted(known))}, or an "
            "option of harden (see --help)."
        )


def _suggest(parts: Parts, task: Task, normalisation: Normalisation | None, norm: str) -> float:
    if normalisation is None:
        raise ValueError(
            f"The training transforms of {parts.config.files[-1]} scale intensities in no way that is known, expected "
            "--eps_max, in the units that the network sees."
        )
    if norm == "linf":
        return LINF_SHARE[task.kind] * normalisation.scale
    size = _size(parts)
    if size is None:
        raise ValueError(
            f"The size of the images of {parts.config.files[-1]} cannot be read, expected --eps_max for norm l2, in "
            "the units that the network sees."
        )
    return float(f"{L2_SHARE * normalisation.scale * math.sqrt(size):.2g}")


def _size(parts: Parts) -> int | None:
    """Values in one image: from the metadata, else from the last crop or resizing."""
    described = parts.config.described("inputs", "image")
    channels = described.get("num_channels")
    shapes = [described.get("spatial_shape")]
    for transform in reversed(parts.transforms):
        shapes += [parts.config.value(f"{transform.id}{SEPARATOR}{name}") for name in ("spatial_size", "roi_size")]
    for shape in shapes:
        if isinstance(shape, list) and shape and all(isinstance(n, int) and n > 0 for n in shape):
            return math.prod(shape) * (channels if isinstance(channels, int) else 1)
    return None


def _batch_norm(network: nn.Module | None, weights: Mapping[str, torch.Tensor] | None) -> bool | None:
    if network is not None:
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    return None if weights is None else any(name.endswith("running_mean") for name in weights)


def _identity(parts: Parts, image: str) -> str:
    """Where sample ids come from: those that are there, the images' file names, or ids that are added."""
    config, dataset = parts.config, parts.dataset
    if dataset is None:
        return "files"
    for path, value in config.reachable(dataset.id):
        named = isinstance(value, str) and SAMPLE_ID in value
        if named or path.endswith(f"{SEPARATOR}{SAMPLE_ID}"):
            return "there"
        if isinstance(value, dict) and str(value.get("_target_", "")).endswith("SampleIdd"):
            return "there"
    loaded = any(transform.name.startswith("LoadImage") for transform in parts.transforms)
    if dataset.name not in CACHES_ON_DISK and _names_survive(parts, image):
        return "files"
    if "data" in dataset.config and dataset.name in KEEPS_ITEMS:
        return "data"
    return "transform" if loaded and "transform" in dataset.config else "dataset"


def _names_survive(parts: Parts, image: str) -> bool:
    """The images are loaded from files, and no transform is known to drop their names."""
    loaded = False
    for transform in parts.transforms:
        keys = parts.config.value(f"{transform.id}{SEPARATOR}keys", [])
        on_image = image in ([keys] if isinstance(keys, str) else keys)
        tracked = parts.config.value(f"{transform.id}{SEPARATOR}track_meta") is not False
        loaded |= on_image and transform.name.startswith("LoadImage")
        if on_image and (transform.name.startswith(STRIPPING) or not tracked):
            return False
    return loaded


def _name(component: Component | None) -> str:
    return "an expression" if component is None else f"{readable(component.id)} ({component.name})"
