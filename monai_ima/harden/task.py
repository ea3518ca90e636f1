"""What a bundle's network is trained to do, inferred from its loss, metrics, post-processing and metadata."""

from __future__ import annotations

from dataclasses import dataclass

from monai.utils import CommonKeys

from .parts import Parts
from .reading import SEPARATOR, Component
from .settings import TASKS

__all__ = ["Task", "find_task", "image_key"]

MAP_LOSSES = ("Dice", "Tversky", "Jaccard", "HausdorffDT", "SoftclDice", "NACL", "Barlow")
LABEL_LOSSES = ("CrossEntropy", "BCE", "Focal", "NLL", "MultiLabel", "DeepSupervision", "Masked")
MAP_METRICS = ("Dice", "MeanIoU", "SurfaceDistance", "HausdorffDistance", "SurfaceDice")


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        kind: one of :data:`~monai_ima.harden.settings.TASKS`.
        classes: number of outputs; None where it is unknown.
        sigmoid: outputs are independent of each other.
        include_background: channel 0 counts in a segmentation's score.
    """

    kind: str
    classes: int | None
    sigmoid: bool
    include_background: bool

    @property
    def description(self) -> str:
        """The task in words."""
        if self.sigmoid and self.classes == 1 and self.kind != "segmentation":
            return "binary classification, one logit (sigmoid)"
        count = "" if self.classes is None else f", {self.classes} " + ("outputs" if self.sigmoid else "classes")
        return f"{self.kind}{count}" + (", independent (sigmoid)" if self.sigmoid else "")


def find_task(parts: Parts, task: str | None = None, sigmoid: bool | None = None) -> Task:
    """Infer the task.

    Args:
        parts: of the bundle.
        task: one of :data:`~monai_ima.harden.settings.TASKS`; None: infer it.
        sigmoid: outputs are independent; None: infer it.

    Raises:
        ValueError: if the task cannot be inferred.
    """
    if sigmoid is None:
        sigmoid = task == "multi-label" or (task != "classification" and _sigmoid(parts))
    if task is None:
        kind = "segmentation" if _is_segmentation(parts) else "multi-label" if sigmoid else "classification"
    else:
        kind = task
    return Task(kind, _classes(parts), sigmoid, sigmoid and kind == "segmentation")


def image_key(parts: Parts) -> str:
    """The key of the images in the data: the first that is loaded, else ``image``."""
    keys = _loaded(parts)
    return keys[0] if keys else str(CommonKeys.IMAGE.value)


def _loaded(parts: Parts) -> list[str]:
    for transform in parts.transforms:
        if transform.name.startswith("LoadImage"):
            keys = parts.config.value(f"{transform.id}{SEPARATOR}keys", [])
            return [keys] if isinstance(keys, str) else [str(key) for key in keys]
    return []


def _is_segmentation(parts: Parts) -> bool:
    loss = "" if parts.loss is None else parts.loss.name
    losses = [loss]
    if parts.loss is not None:
        losses += [c.name for c in parts.config.components(parts.loss.id)]
    if any(word in name for name in losses for word in MAP_LOSSES):
        return True
    metrics = [] if parts.key_metric is None else [c.name for c in parts.config.components(parts.key_metric)]
    if any(word in name for name in metrics for word in MAP_METRICS):
        return True
    kind = str(parts.config.described("outputs", "pred").get("format", "")).lower()
    if "segmentation" in kind:
        return True
    label = str(CommonKeys.LABEL.value)
    if kind not in ("classification", "probabilities", "probability", "labels") and label in _loaded(parts):
        return True
    if not any(word in name for name in losses for word in LABEL_LOSSES) and kind == "":
        raise ValueError(
            f"The task of {parts.config.files[-1]} cannot be inferred from its loss ({loss or 'an expression'}), "
            f"expected --task, one of {', '.join(TASKS)}."
        )
    return False


def _sigmoid(parts: Parts) -> bool:
    """Post-processing decides, then the loss."""
    config = parts.config
    engines = [engine.id for engine in (parts.evaluator, parts.trainer) if engine is not None]
    for engine in engines:
        path = f"{engine}{SEPARATOR}postprocessing"
        for component in config.components(path) if config.get(path) is not None else ():
            if component.name.startswith("Activations"):
                if _flag(parts, component, "sigmoid"):
                    return True
                if _flag(parts, component, "softmax"):
                    return False
            if component.name.startswith("AsDiscrete"):
                if _flag(parts, component, "argmax"):
                    return False
                if component.config.get("threshold") is not None:
                    return True
    if parts.loss is None:
        return False
    for component in config.components(parts.loss.id):
        if "BCE" in component.name or "MultiLabel" in component.name or _flag(parts, component, "sigmoid"):
            return True
    return False


def _flag(parts: Parts, component: Component, name: str) -> bool:
    value = parts.config.value(f"{component.id}{SEPARATOR}{name}", False)
    return any(value) if isinstance(value, list) else bool(value)


def _classes(parts: Parts) -> int | None:
    network = parts.network
    for name in ("num_classes", "out_channels", "out_classes", "n_classes"):
        value = None if network is None else parts.config.value(f"{network.id}{SEPARATOR}{name}")
        if isinstance(value, int):
            return value
    channels = parts.config.described("outputs", "pred").get("num_channels")
    named = parts.config.described("outputs", "pred").get("channel_def")
    return channels if isinstance(channels, int) else len(named) if isinstance(named, dict) and named else None
