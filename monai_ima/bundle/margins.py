from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_ima.margins import MarginTable
from monai_ima.visualize import margin_histogram, save_figure
from monai_ima.weights import load_checkpoint

__all__ = ["MarginSummary", "load_margins", "margins", "summarize_margins"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class MarginSummary:
    """What a margin table says about its data set.

    Attributes:
        count: number of samples.
        mean: of the margins.
        quantiles: by probability.
        at_delta: share of the margins at δ: samples that are wrong or next to the boundary.
        at_eps_max: share of the margins at ε_max: samples whose ball could grow further.
        suggested_eps: a fixed ε for ordinary adversarial training, the median margin.
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
    table = MarginTable(state["eps_max"])
    table.load_state_dict(dict(state))
    return table


def margins(checkpoint: str, out: str | None = None) -> None:
    """Look at the margins that IMA training found: histogram, quantiles, a suggested fixed ε, CSV per sample.

    Writes margins.png, margins.csv (one row a sample) and summary.csv. Nothing is written over.

    Args:
        checkpoint: a checkpoint with margins, such as BUNDLE/models/model_last.pt.
        out: folder to write to; default is a folder beside the checkpoint, named after it.
    """
    table = load_margins(checkpoint)
    summary = summarize_margins(table)
    folder = (
        Path(out) if out is not None else Path(checkpoint).with_suffix("").with_name(f"{Path(checkpoint).stem}_margins")
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    table.save_csv(folder / "margins.csv")
    rows = [
        ("samples", summary.count),
        ("eps_max", table.eps_max),
        ("delta", table.delta),
        ("mean", summary.mean),
        *((f"quantile {q:g}", value) for q, value in summary.quantiles.items()),
        ("share at eps_max", summary.at_eps_max),
        ("share at delta", summary.at_delta),
        ("suggested fixed eps (median)", summary.suggested_eps),
    ]
    with open(folder / "summary.csv", "x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("quantity", "value"), *rows])
    title = f"{summary.count} training samples, {summary.at_eps_max:.0%} at ε_max"
    figure = margin_histogram(table.values().tolist(), table.eps_max, summary.suggested_eps, title)
    save_figure(figure, folder / "margins.png")
    for name, value in rows:
        print(f"{name:>30}  {value:g}")
    print(f"Written to {folder}: margins.csv, margins.png, summary.csv")
