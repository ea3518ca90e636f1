"""What the evaluators and the checks take a batch for, and what they all check of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from monai.utils import convert_to_tensor
from torch import nn

from monai_ima.attacks import Attack
from monai_ima.forward import Forward
from monai_ima.sample_ids import batch_patients, batch_sample_ids

__all__ = ["EvaluationBatch", "evaluation_batch", "named_attacks", "note_ids"]


@dataclass(frozen=True)
class EvaluationBatch:
    """A batch as the attacks take it.

    Attributes:
        forward: from images to logits.
        image: ``[B, C, *spatial]``.
        label: one row per sample.
        sample_ids: of the samples.
        patients: whom the samples are of, None where the data do not say.
    """

    forward: Forward
    image: torch.Tensor
    label: torch.Tensor
    sample_ids: list[str]
    patients: list[str | None]

    def select(self, rows: Sequence[int] | torch.Tensor) -> Self:
        """The samples at these rows only, in rising order."""
        if len(rows) == len(self.image):
            return self
        index = torch.as_tensor(rows, device=self.image.device)
        values = {own.name: getattr(self, own.name) for own in fields(self)}
        lists = {
            name: [value[row] for row in index.tolist()] for name, value in values.items() if isinstance(value, list)
        }
        return replace(
            self, forward=self.forward.select(index), image=self.image[index], label=self.label[index], **lists
        )


def evaluation_batch(batchdata: Any, prepared: Any, inferer: Callable[..., Any], network: nn.Module) -> EvaluationBatch:
    """A loader's batch as the attacks take it.

    Args:
        batchdata: as the loader gives it.
        prepared: what the evaluator's ``prepare_batch`` made of it: image, label and extra network inputs.
        inferer: the evaluator's.
        network: the evaluator's.

    Raises:
        ValueError: when it has no labels or ids.
    """
    image, label, *extra = prepared
    if label is None:
        raise ValueError("The batch holds no labels, expected them under 'label': an attack needs to know them.")
    sample_ids = batch_sample_ids(batchdata, image)
    return EvaluationBatch(
        Forward.prepared(inferer, network, len(image), extra),
        convert_to_tensor(image, track_meta=False),
        convert_to_tensor(label, track_meta=False),
        sample_ids,
        batch_patients(batchdata, len(image)),
    )


def note_ids(sample_ids: Sequence[str], seen: set[str]) -> None:
    """Add a batch's ids to those seen before.

    Raises:
        ValueError: when one is among them already.
    """
    for sample_id in sample_ids:
        if sample_id in seen:
            raise ValueError(f"Sample id {sample_id!r} comes twice, expected a different id for each sample.")
        seen.add(sample_id)


def named_attacks(attack: Attack | Mapping[str, Attack]) -> dict[str, Attack]:
    """Attacks by name; a single one is called ``"attack"``.

    Raises:
        ValueError: when there is none.
    """
    attacks = dict(attack) if isinstance(attack, Mapping) else {"attack": attack}
    if not attacks:
        raise ValueError("Got no attacks, expected at least one.")
    return attacks
