"""Where an evaluation of files reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

__all__ = ["check_layout", "check_places"]

SEPARATOR = "#"
"""What MONAI's configs take for the separator of an id's parts, in every text."""
SPLITS = ("train", "val", "test")
READ = ("images", "labels")


def check_places(places: Mapping[str, str | None]) -> None:
    """Make sure that a config can name files and folders, and that none is written into another.

    Args:
        places: those of the options ``model``, ``images``, ``labels``, ``out`` and ``save_bundle``.

    Raises:
        ValueError: if one of a config has a ``#`` in its path, or one that is written lies in another or holds it.
    """
    paths = {name: Path(place).resolve() for name, place in places.items() if place is not None}
    for name, path in paths.items():
        if name != "out" and SEPARATOR in str(path):
            raise ValueError(
                f"Option --{name} is {path}, expected a path without {SEPARATOR}, which MONAI's configs read otherwise."
            )
    folders = {name: path for name, path in paths.items() if name != "model" and path.suffix.lower() != ".csv"}
    for one, other in combinations(folders, 2):
        inside = folders[one].is_relative_to(folders[other]) or folders[other].is_relative_to(folders[one])
        if inside and not (one in READ and other in READ):
            raise ValueError(
                f"Option --{other} {places[other]} and --{one} {places[one]} are one folder or lie in each other, "
                f"expected a folder of its own as --{other}."
            )


def check_layout(images: Path) -> None:
    """Make sure that the folders of a classifier's images are classes.

    Args:
        images: the folder.

    Raises:
        ValueError: if they are training, validation and test.
    """
    names = {path.name for path in images.iterdir() if path.is_dir()} if images.is_dir() else set()
    found = sorted(names & {*SPLITS, *map(str.capitalize, SPLITS)})
    if found and any(path.is_dir() for name in found for path in (images / name).iterdir()):
        best = next((name for name in found if name.lower() == "test"), found[0])
        raise ValueError(
            f"Folder {images} holds {', '.join(found)}, expected one of them with a folder a class: give --images "
            f"{images / best}."
        )
