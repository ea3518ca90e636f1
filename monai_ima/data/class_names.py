"""Which classes a network tells apart: those of its training data, kept beside its weights."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from monai_ima.utils.checks import check_names, check_path
from monai_ima.utils.distributed import rank
from monai_ima.utils.files import whole_file
from monai_ima.utils.text import read_text

from .image_labelled import image_classes
from .oct_kermany import CLASSES

__all__ = ["check_class_names", "class_names", "keep_class_names", "kept_class_names"]

FILE = "classes.json"


def class_names(
    dataset_dir: str | os.PathLike | None = None,
    weights: str | os.PathLike | None = None,
    otherwise: Sequence[str] = CLASSES,
) -> list[str]:
    """The classes of weights, where their training kept them, else those of a folder or table, else a phantom's.

    Args:
        dataset_dir: folder of class folders, or table of images; None or "": none is given.
        weights: the weights' file.
        otherwise: the classes of the data that stand in where none are given; Kermany's by default.

    Raises:
        FileNotFoundError: if the folder or table is missing, or the folder holds no folders.
        ValueError: if there are fewer than two classes, or the file of names is damaged.

    Example:
        >>> class_names()
        ['CNV', 'DME', 'DRUSEN', 'NORMAL']
    """
    kept = _kept(Path(weights).parent) if weights is not None else None
    if kept is not None:
        return kept
    return list(otherwise) if dataset_dir in (None, "") else image_classes(dataset_dir)


def kept_class_names(
    weights: str | os.PathLike, dataset_dir: str | os.PathLike | None, otherwise: Sequence[str]
) -> list[str]:
    """The classes that a training kept beside its weights; without data, else a phantom's.

    Args:
        weights: the weights' file.
        dataset_dir: images of the user's own; None or "": none are given.
        otherwise: the classes of the phantom that stands in where none are given.

    Raises:
        FileNotFoundError: if images are given and the classes of the weights were not kept.
        ValueError: if the file of names is damaged.

    Example:
        >>> kept_class_names("models/model.pt", None, ["disc", "square"])
        ['disc', 'square']
    """
    folder = Path(check_path("weights", weights)).parent
    kept = _kept(folder)
    if kept is None and dataset_dir not in (None, ""):
        raise FileNotFoundError(
            f"File {folder / FILE} does not exist, expected it beside the weights, where a training keeps the names of "
            "its classes, or these in the order of the training (--classes)."
        )
    return list(otherwise) if kept is None else kept


def check_class_names(weights: str | os.PathLike, classes: Sequence[str]) -> None:
    """Refuse other classes, or another order, than a training kept beside its weights.

    Args:
        weights: the weights' file.
        classes: that an evaluation uses.

    Raises:
        ValueError: if they differ.

    Example:
        >>> check_class_names("models/model.pt", ["disc", "square"])
    """
    names = check_names("classes", classes)
    kept = _kept(Path(check_path("weights", weights)).parent)
    if kept not in (None, names):
        trained = f"{', '.join(kept or [])}, with which {weights} was trained"
        raise ValueError(f"Got the classes {', '.join(names)}, expected {trained}.")


def keep_class_names(folder: str | os.PathLike, classes: Sequence[str], overwrite: bool = False) -> None:
    """Write the names into the folder that a training's weights go to; the first of several processes does.

    Args:
        folder: of the weights.
        classes: in the order of their indices.
        overwrite: other names may be there already.

    Raises:
        ValueError: if other names are there and must not be overwritten.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> keep_class_names(folder, ["healthy", "scar"])
        >>> class_names(weights=Path(folder) / "model.pt")
        ['healthy', 'scar']
    """
    if rank() > 0:
        return
    kept = None if overwrite else _kept(Path(folder))
    if kept not in (None, list(classes)):
        raise ValueError(
            f"Folder {folder} holds weights of the classes {', '.join(kept or [])}, expected {', '.join(classes)}: "
            "name another ckpt_dir, or set overwrite."
        )
    with whole_file(Path(folder) / FILE) as file:
        file.write_text(json.dumps(list(classes), indent=1) + "\n", encoding="utf-8")


def _kept(folder: Path) -> list[str] | None:
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        names = json.loads(read_text(file))
    except ValueError as error:
        raise ValueError(f"File {file} cannot be read ({error}), expected a list of class names.") from error
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"File {file} holds {names!r}, expected a list of class names.")
    return names
