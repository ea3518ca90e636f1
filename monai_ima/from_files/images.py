"""Images alone as a MONAI bundle: what noise there is in them needs neither a network nor labels."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_ima.data import class_files, image_label_pairs
from monai_ima.data.folders import dataset_folder
from monai_ima.data.headers import IMAGE_SUFFIXES, image_suffix
from monai_ima.harden.channels import CHANNELS_ID

from .reading import Files, checked_files
from .settings import FileSettings

__all__ = ["bundle_of_images"]


@contextmanager
def bundle_of_images(settings: FileSettings, limit: int) -> Iterator[Path]:
    """A bundle whose evaluator loads images only, in a folder that is removed when the block ends.

    Args:
        settings: with ``images``; with ``labels`` those images alone that have one.
        limit: so many of them, taken evenly from all, >= 1.

    Raises:
        FileNotFoundError: if a folder, table or image is missing, or there are no images.
        ValueError: if images are of several kinds, or the settings do not go with their dimensions.
    """
    items = _items(settings)
    chosen = [items[k * len(items) // limit] for k in range(limit)] if len(items) > limit else items
    alone = settings.model_copy(update={"window": None, "classes": None})
    files = checked_files(alone, chosen, {}, [])
    with tempfile.TemporaryDirectory(prefix="monai_ima_") as folder:
        (Path(folder) / "configs").mkdir()
        for name, content in (("evaluate", _config(files)), ("metadata", {})):
            (Path(folder) / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        yield Path(folder)


def _items(settings: FileSettings) -> list[dict[str, Any]]:
    """The images with their names."""
    images = Path(str(settings.images)).resolve()
    if settings.labels is None:
        root = dataset_folder(images, "image files")
        paths = [path for path in sorted(root.rglob("*")) if image_suffix(path) and path.is_file()]
        named = [(path, path.relative_to(root)) for path in paths]
        items = [
            {"image": str(path), "sample_id": name.as_posix()}
            for path, name in named
            if not any(part.startswith(".") for part in name.parts)
        ]
        if not items:
            raise FileNotFoundError(
                f"Folder {settings.images} holds no image files, expected names ending in {', '.join(IMAGE_SUFFIXES)}."
            )
        return items
    labels = Path(settings.labels).resolve()
    found = class_files(images, labels) if labels.suffix.lower() == ".csv" else image_label_pairs(images, labels)
    return [{"image": item["image"], "sample_id": item["sample_id"]} for item in found]


def _config(files: Files) -> dict[str, Any]:
    limits = {} if files.settings.channels is None else {CHANNELS_ID: list(files.settings.channels)}
    transform = {"_target_": "Compose", "transforms": files.transforms}
    return {
        **limits,
        "dataset": {"_target_": "Dataset", "data": files.items, "transform": transform},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "evaluator": {"_target_": "SupervisedEvaluator", "val_data_loader": "@dataloader"},
    }
