"""What a bundle's network is trained to do, inferred from its loss, metrics, post-processing and metadata."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monai.utils import CommonKeys, HoVerNetBranch

from monai_ima.utils.checks import TASKS
from monai_ima.utils.outputs import Output

from .activations import independent_outputs
from .built import built, named
from .parts import Clues
from .reading import Component, TrainingConfig

__all__ = ["Task", "find_task", "image_key"]

logger = logging.getLogger(__name__)

MAP_LOSSES = ("Dice", "Tversky", "Jaccard", "HausdorffDT", "SoftclDice", "NACL", "Barlow")
LABEL_LOSSES = ("CrossEntropy", "BCE", "Focal", "NLL", "MultiLabel", "DeepSupervision", "Masked", "cross_entropy")
MAP_METRICS = ("Dice", "MeanIoU", "SurfaceDistance", "HausdorffDistance", "SurfaceDice")
CLASSIFIERS = ("DenseNet", "Densenet", "ResNet", "EfficientNet", "SENet", "SEResNe", "TorchVisionFCModel", "ViT")
"""How the names of networks begin that give a vector for an image."""
NUCLEI = HoVerNetBranch.NP.value
"""The output of HoVerNet that is judged, among the three that it has: nucleus or background."""
CLASS_FORMATS = ("classification", "classes", "probabilities", "probability", "labels")
"""``format`` of such an output in the metadata."""
BY_TASK = {"classification": False, "multi-label": True}
"""Tasks that say whether outputs are independent of each other."""
MAP_NETWORKS = re.compile("(?i)unet|^(?:vnet|segresnet|highresnet|ahnet|dints|mednext|quicknat|daf3d|hovernet)")
"""Names of networks that give a map for an image."""


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        kind: one of :data:`~monai_ima.utils.checks.TASKS`.
        classes: number of outputs; None where it is unknown.
        sigmoid: outputs are independent of each other.
        include_background: channel 0 counts in a segmentation's score.
        ignore_index: the label that the loss, else the key metric, is told to leave out; None where it is not.
        output: index or key of the network's output that counts, where it returns several; None: the first.
    """

    kind: str
    classes: int | None
    sigmoid: bool
    include_background: bool
    ignore_index: int | None = None
    output: Output = None

    @property
    def description(self) -> str:
        """The task in words."""
        if self.sigmoid and self.classes == 1 and self.kind != "segmentation":
            return "binary classification, one logit (sigmoid)"
        count = "" if self.classes is None else f", {self.classes} " + ("outputs" if self.sigmoid else "classes")
        return f"{self.kind}{count}" + (", independent (sigmoid)" if self.sigmoid else "")


def find_task(
    clues: Clues, task: str | None = None, sigmoid: bool | None = None, ignore_index: int | None = None
) -> Task:
    """Infer the task.

    Args:
        clues: of the bundle.
        task: one of :data:`~monai_ima.utils.checks.TASKS`; None: infer it.
        sigmoid: outputs are independent; None: infer it.
        ignore_index: the label that is left out; None: infer it.

    Raises:
        ValueError: if the task cannot be inferred, or the loss leaves out several labels.
    """
    is_map = _is_segmentation(clues) if task is None else task == "segmentation"
    if sigmoid is None:
        sigmoid = BY_TASK[task] if task in BY_TASK else independent_outputs(clues, is_map)
    kind = task or ("segmentation" if is_map else "multi-label" if sigmoid else "classification")
    if sigmoid is None and kind == "segmentation":
        logger.warning(
            "Neither post-processing nor loss of %s say whether outputs are independent of each other (sigmoid) or "
            "not (softmax): taken as softmax; --sigmoid says otherwise.",
            clues.config.files[-1],
        )
    sigmoid = bool(sigmoid)
    ignore_index = _ignore_index(clues) if ignore_index is None else ignore_index
    if _named(clues, "HoVerNet"):
        return Task(kind, 2, sigmoid, sigmoid, ignore_index, NUCLEI)
    return Task(kind, _classes(clues), sigmoid, sigmoid and kind == "segmentation", ignore_index)


def image_key(config: TrainingConfig, transforms: Sequence[Component]) -> str:
    """The key of the images in the data: the first that is loaded, else ``image``."""
    return next(iter(_loaded(config, transforms)), str(CommonKeys.IMAGE.value))


def _loaded(config: TrainingConfig, transforms: Sequence[Component]) -> list[str]:
    return next((config.keys(transform) for transform in transforms if transform.name.startswith("LoadImage")), [])


def _is_segmentation(clues: Clues) -> bool:
    config, loss = clues.config, clues.loss
    network = "" if clues.network is None else clues.network.name
    kind = str(config.described("outputs", "pred").get("format", "")).lower()
    if (
        named(config, clues.loss_path, MAP_LOSSES)
        or named(config, clues.key_metric, MAP_METRICS)
        or "segmentation" in kind
    ):
        return True
    if kind in CLASS_FORMATS or network.startswith(CLASSIFIERS):
        return False
    if MAP_NETWORKS.search(network) or str(CommonKeys.LABEL.value) in _loaded(config, clues.transforms):
        return True
    if not named(config, clues.loss_path, LABEL_LOSSES):
        found = loss.name if loss else "none" if clues.loss_path is None else "an expression"
        raise ValueError(
            f"The task of {config.files[-1]} cannot be inferred from its loss ({found}), metrics and metadata, "
            f"expected --task, one of {', '.join(TASKS)}."
        )
    return False


def _named(clues: Clues, name: str) -> bool:
    return any(part is not None and name in part.name for part in (clues.network, clues.loss))


def _ignore_index(clues: Clues) -> int | None:
    for path in (clues.loss_path, clues.key_metric):
        found = set() if path is None else set(_ignore_indices(clues.config, path))
        if len(found) > 1:
            raise ValueError(
                f"Config {clues.config.files[-1]} leaves out several labels (ignore_index "
                f"{', '.join(map(str, sorted(found)))}), expected the one that counts nowhere as --ignore_index."
            )
        if found:
            return found.pop()
    return None


def _ignore_indices(config: TrainingConfig, path: str) -> Iterator[int]:
    """The values of ``ignore_index`` of what is built at an id or below; torch's default is none of them."""
    for parts in built(config, path):
        for part in parts:
            given = part.arguments.get("ignore_index")
            if isinstance(given, int) and not isinstance(given, bool):
                yield given


def _classes(clues: Clues) -> int | None:
    network = clues.network
    for name in ("num_classes", "out_channels", "out_classes", "n_classes"):
        value = None if network is None else clues.config.argument(network, name)
        if isinstance(value, int):
            return value
    channels = clues.config.described("outputs", "pred").get("num_channels")
    named = clues.config.described("outputs", "pred").get("channel_def")
    return channels if isinstance(channels, int) else len(named) if isinstance(named, dict) and named else None
