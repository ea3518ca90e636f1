"""Scalars of TensorBoard event files."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_ima.utils.checks import check_path

__all__ = ["Scalars", "read_logs"]

EVENT_FILES = "events.out.tfevents.*"

Scalars = dict[str, list[tuple[int, float]]]
"""(step, value) of every tag, rising by step; values that are not finite are left out."""


def read_logs(folder: str | Path) -> dict[str, Scalars]:
    """The scalars of every run below a folder; a run is a folder with event files.

    Args:
        folder: looked through with all its subfolders.

    Returns:
        By the run's path below ``folder``, ``"."`` for the folder itself.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no event file, or none with scalars.
    """
    folder = Path(check_path("folder", folder))
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {folder} does not exist, expected one with TensorBoard event files.")
    runs = sorted({file.parent for file in folder.rglob(EVENT_FILES)})
    if not runs:
        raise ValueError(f"Folder {folder} holds no TensorBoard event files ({EVENT_FILES}), expected at least one.")
    found = {str(run.relative_to(folder)): _scalars(run) for run in runs}
    found = {run: scalars for run, scalars in found.items() if scalars}
    if not found:
        raise ValueError(f"The TensorBoard event files in {folder} hold no scalars, expected some.")
    return found


def _scalars(run: Path) -> Scalars:
    logger = logging.getLogger("tensorboard")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    finally:
        logger.setLevel(before)
    curves = {}
    for tag in sorted(events.Tags()["scalars"]):
        points = {event.step: event.value for event in events.Scalars(tag) if math.isfinite(event.value)}
        if points:
            curves[tag] = sorted(points.items())
    return curves
