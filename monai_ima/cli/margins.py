from __future__ import annotations

import csv
from pathlib import Path

from monai_ima.margins import load_margins, summarize_margins
from monai_ima.visualize import margin_histogram, save_figure

__all__ = ["margins"]


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
