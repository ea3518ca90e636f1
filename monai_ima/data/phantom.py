"""What all phantoms share: how many samples a split has, and folders of synthetic data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_ima.utils.checks import check_bool

from .folders import SPLITS

__all__ = ["MIN_SIZE", "check_phantom", "phantom_counts", "write_once"]

MIN_SIZE = 16
"""Smallest side of an image in pixels or voxels."""

FINISHED, UNFINISHED, STARTED = "phantom.json", ".unfinished", ".unfinished.part"
"""Files that hold the settings of a phantom: when it is written, while it is being written, and just before."""
LOCK = ".phantom.lock"
"""Held by the process that writes."""


def phantom_counts(name: str, count: Mapping[str, int] | int, least: int = 1) -> dict[str, int]:
    """How many samples of a synthetic data set go into each split.

    Args:
        name: of the argument, for errors.
        count: in the training split (a fifth of it validates, half of it tests), or one for each split.
        least: smallest number allowed.

    Raises:
        ValueError: if a number is missing or < ``least``.

    Example:
        >>> phantom_counts("per_class", 10)
        {'train': 10, 'val': 2, 'test': 5}
    """
    if isinstance(count, int):
        counts = {"train": count, "val": max(least, count // 5), "test": max(least, count // 2)}
    else:
        counts = dict(count) if isinstance(count, Mapping) else {}
    if set(counts) != set(SPLITS) or not all(isinstance(n, int) and n >= least for n in counts.values()):
        raise ValueError(f"Got {name} {count}, expected an integer >= {least}, or one for each of {', '.join(SPLITS)}.")
    return counts


def check_phantom(allowed: bool, data: str) -> None:
    """Refuse to let a phantom stand in for the data that weights were trained on.

    Args:
        allowed: it may stand in.
        data: what should have been given, for the error.

    Raises:
        ValueError: if it may not.

    Example:
        >>> check_phantom(True, "dataset_dir")
    """
    if not check_bool("phantom", allowed):
        raise ValueError(
            f"Got no {data}, expected some: the weights were trained on data of one's own, not the phantom's."
        )


def write_once(
    folder: str | os.PathLike, settings: Mapping[str, Any], counts: Mapping[str, int], write: Callable[[Path], None]
) -> Path:
    """Write a phantom, unless the folder holds it already.

    ``phantom.json`` holds the settings and appears when everything is written. A complete folder with the same settings
    is left as it is; one whose writing was interrupted is written again, with the same settings only. Of several
    processes one writes while the others wait.

    Args:
        folder: the folder.
        settings: what ``phantom.json`` holds; ``settings["data"]`` is the phantom's name.
        counts: number of files of each pattern below the folder, such as ``{"imagesTr/*.nii.gz": 12}``.
        write: writes everything below the folder, in which the patterns' folders are made before.

    Returns:
        ``folder``.

    Raises:
        FileExistsError: when the folder holds anything else, or files of a finished phantom are gone.
    """
    root = Path(folder)
    if _is_written(root, settings, counts):
        return root
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / LOCK):
        try:
            if not _is_written(root, settings, counts):
                _write(root, settings, counts, write)
        finally:
            (root / LOCK).unlink(missing_ok=True)
    return root


def _write(root: Path, settings: Mapping[str, Any], counts: Mapping[str, int], write: Callable[[Path], None]) -> None:
    (root / STARTED).write_text(json.dumps(settings, indent=2))
    (root / STARTED).replace(root / UNFINISHED)
    for pattern in counts:
        (root / pattern).parent.mkdir(parents=True, exist_ok=True)
    write(root)
    (root / UNFINISHED).replace(root / FINISHED)


def _is_written(root: Path, settings: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether a folder holds the whole phantom of these settings; False when it may be written to."""
    name = settings["data"]
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"{root} is a file, expected an empty or missing folder for the {name}.")
    if not root.exists() or {*os.listdir(root)} <= {LOCK, STARTED} or _read(root / UNFINISHED) == settings:
        return False
    if _read(root / FINISHED) != settings:
        raise FileExistsError(
            f"Folder {root} holds other files than the {name} of these settings, expected an empty or missing folder."
        )
    for pattern, expected in counts.items():
        found = len(list(root.glob(pattern)))
        if found != expected:
            raise FileExistsError(
                f"Folder {(root / pattern).parent} of the {name} holds {found} scans, expected {expected}: remove "
                f"{root} to have it written again."
            )
    return True


def _read(file: Path) -> object:
    """What the file holds; None when there is no such file or it was cut short."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
