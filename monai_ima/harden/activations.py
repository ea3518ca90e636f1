"""Whether a bundle's outputs are independent of each other (sigmoid) or not (softmax), as its config says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from monai.utils import CommonKeys

from .built import UNREAD, Built, built
from .parts import Clues

__all__ = ["independent_outputs"]

SIGMOID_LOSSES = ("bce", "binary_cross_entropy", "multilabel", "sigmoid")
SOFTMAX_LOSSES = ("crossentropy", "cross_entropy", "nll", "softmax")
"""What the names of losses hold, in lower case; those of sigmoid go first."""


def independent_outputs(clues: Clues, is_map: bool) -> bool | None:
    """Post-processing decides, then the loss; None where neither says, or an expression says both.

    Args:
        clues: of the bundle.
        is_map: it is a segmentation.

    Raises:
        ValueError: if a reference leads nowhere.
    """
    label = str(CommonKeys.LABEL.value)
    for path in clues.postprocessing:
        for parts in built(clues.config, path, without=label):
            found = _agreed(parts, _activation)
            found = _agreed(parts, _discretisation) if found == set() else found
            if len(found) == 1:
                return found.pop()
    losses = list(_loss_votes(clues, is_map))
    return True if True in losses else False if False in losses else None


def _loss_votes(clues: Clues, is_map: bool) -> Iterator[bool]:
    for parts in built(clues.config, clues.loss_path):
        found = _agreed(parts, lambda part: _loss(part, is_map))
        if len(found) == 1:
            yield found.pop()


def _agreed(parts: Iterable[Built], vote: Callable[[Built], bool | None]) -> set[bool]:
    return {found for part in parts if (found := vote(part)) is not None}


def _activation(part: Built) -> bool | None:
    name = part.name.lower()
    if part.flag("sigmoid") or "sigmoid" in name:
        return True
    return False if part.flag("softmax") or "softmax" in name else None


def _discretisation(part: Built) -> bool | None:
    if part.name == "argmax":
        return False
    if not part.name.startswith("AsDiscrete"):
        return None
    if part.flag("argmax"):
        return False
    return True if part.arguments.get("threshold") is not None else None


def _loss(part: Built, is_map: bool) -> bool | None:
    name = part.name.lower()
    if part.flag("sigmoid") or any(word in name for word in SIGMOID_LOSSES):
        return True
    if part.name == "FocalLoss" and part.target.split(".")[0] in ("monai", "FocalLoss"):
        return _focal(part, is_map)
    return False if part.flag("softmax") or any(word in name for word in SOFTMAX_LOSSES) else None


def _focal(part: Built, is_map: bool) -> bool | None:
    """MONAI's takes the outputs as independent unless it is told otherwise; of an image's one class they are not."""
    if part.arguments.get("use_softmax") is UNREAD:
        return None
    return not part.flag("use_softmax") and (is_map or not part.flag("to_onehot_y"))
