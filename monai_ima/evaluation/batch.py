"""A batch under evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import nn

from monai_ima.attacks import Attack
from monai_ima.inferers import OutputInferer
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_instance
from monai_ima.utils.outputs import Output, choose_label
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.sample_ids import batch_patients, batch_sample_ids, check_labels
from monai_ima.utils.spacing import scan_affines, scan_spacings

__all__ = ["EvaluationBatch", "check_any", "evaluation_batch", "named_attacks", "note_ids", "one_output"]


@dataclass(frozen=True)
class EvaluationBatch(Batch):
    """A batch that is evaluated.

    Attributes:
        patients: whom the samples are of, None where the data do not say.
        affines: of volumes, ``[4, 4]`` from voxels to mm; None where an image does not say.

    Example:
        >>> batch = {"image": torch.rand(2, 1, 4), "label": torch.tensor([0, 1]), "sample_id": ["a", "b"]}
        >>> network = torch.nn.Flatten()
        >>> prepared = evaluation_batch(batch, (batch["image"], batch["label"]), lambda x, f: f(x), network)
        >>> prepared.select([1]).sample_ids, prepared.patients
        (['b'], [None, None])
    """

    patients: list[str | None]
    affines: list[np.ndarray | None] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.affines:
            object.__setattr__(self, "affines", [None] * len(self.sample_ids))


def evaluation_batch(
    batchdata: Any, prepared: Any, inferer: Callable[..., Any], network: nn.Module, root: str | None = None
) -> EvaluationBatch:
    """A loader's batch, ready to be attacked.

    Args:
        batchdata: as the loader gives it.
        prepared: what the evaluator's ``prepare_batch`` made of it: image, label and extra network inputs.
        inferer: the evaluator's.
        network: the evaluator's.
        root: folder that file names are made relative to where they are the ids, as in training.

    Raises:
        ValueError: if it has no labels or ids.
    """
    image, label, *extra = prepared
    check_labels(label, batchdata, image, root=root)
    sample_ids = batch_sample_ids(batchdata, image, root=root)
    return EvaluationBatch(
        Predictor.prepared(inferer, network, len(image), extra),
        convert_to_tensor(image, track_meta=False),
        convert_to_tensor(label, track_meta=False),
        sample_ids,
        batch_patients(batchdata, len(image)),
        spacings=scan_spacings(image),
        affines=scan_affines(image),
    )


def note_ids(sample_ids: Sequence[str], seen: dict[str, None]) -> None:
    """Add a batch's ids to those seen before, in their order.

    Raises:
        ValueError: if one is among them already.
    """
    for sample_id in sample_ids:
        if sample_id in seen:
            raise ValueError(f"Sample id {sample_id!r} comes twice, expected a different id for each sample.")
        seen[sample_id] = None


def check_any(sample_ids: Collection[str]) -> None:
    """Refuse data without samples.

    Raises:
        ValueError: if there is no id.
    """
    if not sample_ids:
        raise ValueError("The data loader gave no samples, expected at least one.")


def named_attacks(attack: Attack | Mapping[str, Attack]) -> dict[str, Attack]:
    """Attacks by name; a single one is called ``"attack"``.

    Raises:
        ValueError: if there is none.
        TypeError: if one is no attack.
    """
    attacks = dict(attack) if isinstance(attack, Mapping) else {"attack": attack}
    if not attacks:
        raise ValueError("Got no attack, expected at least one.")
    for value in attacks.values():
        check_instance("attack", value, Attack, "an attack such as PGD(), or a dictionary of several by name")
    return attacks


def one_output(
    inferer: Callable[..., Any], prepare_batch: Callable[..., Any], output: Output
) -> tuple[Inferer, Callable[..., Any]]:
    """An evaluator's inferer and ``prepare_batch``, giving the output that counts and the label that goes with it.

    Args:
        inferer: the evaluator's.
        prepare_batch: the evaluator's.
        output: index or key.
    """

    def prepare(*arguments: Any, **named: Any) -> Any:
        image, label, *extra = prepare_batch(*arguments, **named)
        return (image, choose_label(label, output), *extra)

    return OutputInferer(inferer, output), prepare
