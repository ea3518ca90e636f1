"""Which models can be compared sample by sample, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_ima.results.paired import PairedDifference, check_pairs, differences_from_first
from monai_ima.results.schema import Results

__all__ = ["Pairs", "paired"]


@dataclass(frozen=True)
class Pairs:
    """The models but the first, by label.

    Attributes:
        differences: from the first, at every ε that both were measured at.
        refused: why a model cannot be compared with the first.
    """

    differences: dict[str, list[PairedDifference]]
    refused: dict[str, str]


def paired(models: Sequence[Results]) -> Pairs:
    """Compare every other model with the first.

    Args:
        models: at least one, with different labels.
    """
    first, *others = models
    compared, refused = [], {}
    for other in others:
        try:
            check_pairs(first, other)
        except ValueError as error:
            refused[other.label] = str(error)
        else:
            compared.append(other)
    found = differences_from_first([first, *compared]) if compared else []
    return Pairs({one.label: entries for one, entries in zip(compared, found, strict=True)}, refused)
