"""Image files and their classes, from a CSV file or the folders that they are in; nothing is split."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from monai_ima.utils.checks import check_path

from .class_layout import folder_classes, in_order
from .folders import Item, dataset_folder, is_visible
from .headers import IMAGE_SUFFIXES, image_suffix
from .image_table import TableRow, read_table

__all__ = ["class_files", "classes_of_folders", "table_classes"]


def class_files(
    images: str | os.PathLike, labels: str | os.PathLike | None = None, classes: Sequence[str] | None = None
) -> list[Item]:
    """The image files of a folder with their classes.

    Args:
        images: the folder; without ``labels`` each folder in it is a class.
        labels: CSV file with the columns image (path below ``images``), label and maybe patient.
        classes: their names, in the order of their indices; None: :func:`table_classes`, or
            :func:`classes_of_folders`. Some may have no images.

    Returns:
        ``{"image": file, "label": class index, "sample_id": path below images}``, with ``"patient"`` where the CSV
        file has it, in the order of the table, or sorted.

    Raises:
        FileNotFoundError: if folder or table are missing, an image of the table is, or a class folder holds none.
        ValueError: if the table lacks a column or a value, names an image twice, or a class (a folder) is not among
            ``classes``.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> _ = (root / "a.png").touch(), (root / "labels.csv").write_text("image,label,patient\\na.png,scar,p1\\n")
        >>> item = class_files(root, root / "labels.csv")[0]
        >>> item["label"], item["sample_id"], item["patient"]
        (0, 'a.png', 'p1')
    """
    root = dataset_folder(images, "image files")
    if labels is None:
        return _of_folders(root, list(classes or classes_of_folders(root)))
    names = list(classes or table_classes(labels, root))
    return [_of_row(labels, row, names) for row in read_table(check_path("labels", labels), root, IMAGE_SUFFIXES)]


def table_classes(labels: str | os.PathLike, images: str | os.PathLike) -> list[str]:
    """The classes of a CSV file with a column label: its values, sorted; 0 to the largest where all are integers >= 0.

    Args:
        labels: the file, as for :func:`class_files`.
        images: the folder, as for :func:`class_files`.

    Raises:
        FileNotFoundError: if there is no such file, or an image is missing.
        ValueError: if it lacks a column or a value, or names an image twice.
    """
    return _indices_or_names({row.label for row in read_table(check_path("labels", labels), images, IMAGE_SUFFIXES)})


def classes_of_folders(images: str | os.PathLike) -> list[str]:
    """The classes that the folders in a folder are called after, in the order of :func:`table_classes`.

    Args:
        images: the folder.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds none.
        ValueError: if it holds one folder only.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("1", "3"):
        ...     (root / name).mkdir()
        >>> classes_of_folders(root)
        ['0', '1', '2', '3']
    """
    return _indices_or_names(folder_classes(images))


def _indices_or_names(values: Collection[str]) -> list[str]:
    if all(value.isascii() and value.isdecimal() and str(int(value)) == value for value in values):
        return [str(k) for k in range(max(map(int, values)) + 1)]
    return in_order(values)


def _of_folders(root: Path, classes: list[str]) -> list[Item]:
    items: list[Item] = []
    folders = {path.name for path in root.iterdir() if path.is_dir() and is_visible(Path(path.name))}
    for name in in_order(folders):
        if name not in classes:
            raise ValueError(f"Folder {root / name} is not a class, expected {', '.join(classes)}.")
    for k, name in enumerate(classes):
        if name not in folders:
            continue
        files = sorted(
            path
            for path in (root / name).rglob("*")
            if image_suffix(path) is not None and path.is_file() and not path.name.startswith(".")
        )
        if not files:
            raise FileNotFoundError(
                f"Class folder {root / name} holds no images, expected names ending in {', '.join(IMAGE_SUFFIXES)}."
            )
        items += [{"image": str(file), "label": k, "sample_id": file.relative_to(root).as_posix()} for file in files]
    if not items:
        raise FileNotFoundError(f"Folder {root} holds no folders, expected one for each of {', '.join(classes)}.")
    return items


def _of_row(table: str | os.PathLike, row: TableRow, classes: Sequence[str]) -> Item:
    if row.label not in classes:
        raise ValueError(f"Label {row.label!r} in {table} is unknown, expected one of {', '.join(classes)}.")
    item: Item = {"image": str(row.file), "label": classes.index(row.label), "sample_id": row.name}
    return item if row.patient is None else {**item, "patient": row.patient}
