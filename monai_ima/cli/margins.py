from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

from monai_ima.utils.checks import check_path

from .arguments import new_folder

__all__ = ["margins"]

COUNTED = ("samples", "share at eps_max", "share at delta")
"""Rows that are no ε."""


def margins(
    checkpoint: Annotated[str, "Checkpoint with margins, such as BUNDLE/models/model_last.pt."],
    out: Annotated[str | None, "Folder to write to; default: beside the checkpoint, named after it."] = None,
) -> None:
    """Show the margins of IMA training: histogram, quantiles, a suggested fixed ε, and a CSV row for each sample.

    Writes margins.png, margins.csv and summary.csv; nothing is overwritten.

    \b
    Example: monai-ima margins --checkpoint BUNDLE/models/model_last.pt
    """
    from monai_ima.margins import load_margins, summarize_margins
    from monai_ima.results.pixel_size import PixelSize
    from monai_ima.visualize import margin_histogram, save_figure

    table = load_margins(checkpoint)
    summary = summarize_margins(table)
    stem = Path(checkpoint).with_suffix("")
    folder = new_folder(check_path("out", out) if out is not None else stem.with_name(f"{stem.name}_margins"))
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
    size = PixelSize.of(table.norm, table.image_values, measured=table.perturbation)
    figure = margin_histogram(
        table.values().tolist(),
        table.eps_max,
        summary.suggested_eps,
        title,
        second=size.scale,
        measured=table.perturbation,
    )
    save_figure(figure, folder / "margins.png")
    for name, value in rows:
        in_pixel = "" if name in COUNTED else size.text(value)
        print(f"{name:>30}  {value:.4g}" + (f" ({in_pixel})" if in_pixel else ""))
    print(f"Written to {folder}: margins.csv, margins.png, summary.csv")
