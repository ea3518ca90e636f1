from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_ima.utils.weights import load_checkpoint

from .table import MarginTable

__all__ = ["MarginSummary", "load_margins", "summarize_margins"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class MarginSummary:
    """What a margin table says about its data set.

    Attributes:
        count: number of samples.
        mean: of the margins.
        quantiles: by probability.
        at_delta: share of the margins at δ: samples that are misclassified or next to the boundary.
        at_eps_max: share of the margins at ε_max: samples whose ball could grow further.
        suggested_eps: a fixed ε for ordinary adversarial training, the median margin.

    Example:
        >>> table = MarginTable(eps_max=2.0, delta=0.5)
        >>> table.register(["a", "b"])
        >>> summarize_margins(table).at_delta
        1.0
    """

    count: int
    mean: float
    quantiles: dict[float, float]
    at_delta: float
    at_eps_max: float
    suggested_eps: float


def summarize_margins(table: MarginTable) -> MarginSummary:
    """Quantiles and shares of a table's margins.

    The suggested fixed ε is the median: half of the training samples have a boundary nearer than that, for which a
    larger ball would ask the impossible. The paper's supplement reads a fixed ε off the histogram by eye.

    Raises:
        ValueError: when the table is empty.
    """
    if len(table) == 0:
        raise ValueError("The margin table is empty, expected margins of at least one sample.")
    values = table.values()
    quantiles = {q: float(torch.quantile(values, q)) for q in QUANTILES}
    return MarginSummary(
        count=len(table),
        mean=float(values.mean()),
        quantiles=quantiles,
        at_delta=float((values <= table.delta).double().mean()),
        at_eps_max=float((values >= table.eps_max).double().mean()),
        suggested_eps=quantiles[0.5],
    )


def load_margins(checkpoint: str | Path) -> MarginTable:
    """The margin table of a checkpoint: under ``margins``, or the file's only content.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no margins.
    """
    content = load_checkpoint(checkpoint)
    state = content.get("margins") if isinstance(content, Mapping) else None
    if isinstance(state, torch.Tensor):
        state = content
    if not isinstance(state, Mapping) or "eps_max" not in state:
        raise ValueError(f"Checkpoint {checkpoint} holds no margins, expected one that IMA training wrote.")
    try:
        table = MarginTable(state["eps_max"])
        table.load_state_dict(dict(state))
    except ValueError as error:
        raise ValueError(f"The margins in {checkpoint} are damaged: {error}") from error
    if len(table) == 0:
        raise ValueError(f"The margin table in {checkpoint} is empty, expected margins of at least one sample.")
    return table
