"""A suggestion as files: suggest.json, suggest.csv and levels.png."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure

from monai_ima.perturbations import BiasField
from monai_ima.utils.files import whole_file
from monai_ima.visualize import Level, level_pictures, save_figure

from .suggest import Suggestion

__all__ = ["draw_levels", "write_suggestion"]

COLUMNS = ("change", "perturbation", "size", "unit", "l2", "linf", "rms", "rms_in_files", "unit_of_files")


def write_suggestion(folder: Path, suggestion: Suggestion, name: str, image: torch.Tensor, seed: int = 0) -> None:
    """Write the three files; of suggest.csv the last two columns are empty where the files' unit is not known.

    Args:
        folder: to write to.
        suggestion: what was measured.
        name: of the image.
        image: that is drawn, ``[C, *spatial]``.
        seed: of its noise.

    Raises:
        FileExistsError: if one of the files exists.
    """
    with whole_file(folder / "suggest.json", overwrite=False) as file:
        text = json.dumps(suggestion.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")
    units = suggestion.units
    with (
        whole_file(folder / "suggest.csv", overwrite=False) as file,
        open(file, "w", newline="", encoding="utf-8") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        for change in suggestion.changes:
            in_files = ("", "") if units is None else (change.rms * units.per_unit, units.name)
            named = (change.title, change.perturbation or "", change.size, change.unit)
            writer.writerow([*named, change.l2, change.linf, change.rms, *in_files])
    save_figure(draw_levels(suggestion, name, image, seed), folder / "levels.png")


def draw_levels(suggestion: Suggestion, name: str, image: torch.Tensor, seed: int = 0) -> Figure:
    """One image, clean, with Gaussian noise and with a bias field, both of the L2 size of each change.

    Args:
        suggestion: what was measured.
        name: of the image.
        image: ``[C, *spatial]``, not constant.
        seed: of noise and field.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(image.shape, generator=generator)
    fitted = BiasField().fit(image[None])
    theta = fitted.perturbation.norm.draw_of_length(fitted.zero(), torch.ones(1), generator)
    one_percent = fitted.perturbation.change(fitted.image, theta, fitted.constants)[0]
    levels = []
    for change in suggestion.changes:
        rms = change.l2 / math.sqrt(image.numel())
        percent = change.l2 / float(torch.linalg.vector_norm(one_percent))
        changed = {
            f"noise, RMS {rms:.3g}": image + rms * noise,
            f"bias field, {percent:.2g} %": image + percent * one_percent,
        }
        levels.append(Level(f"{change.title}\nL2 {change.l2:.3g}", changed))
    return level_pictures(image, levels, f"{name}, and changes of it that are of one size in L2")
