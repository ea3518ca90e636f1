"""Folders of volumes as a user has them, for the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np


def write_scan(
    root: Path,
    name: str,
    shape: Sequence[int] = (20, 18, 16),
    affine: np.ndarray | None = None,
    values: Sequence[int] = (1, 2),
    channels: int = 1,
) -> None:
    """One scan in ``imagesTr`` and its label in ``labelsTr``: slabs of the values, brighter than what is around."""
    rng = np.random.default_rng(list(name.encode()))
    label = np.zeros(shape, np.uint8)
    for k, value in enumerate(values):
        label[3:-3, 3:-3, 3 + 4 * k : 7 + 4 * k] = value
    image = 100 * (rng.normal(scale=0.3, size=(*shape, channels)) + 2 * (label > 0)[..., None] + label[..., None])
    for folder, voxels in (("imagesTr", image.astype(np.float32)), ("labelsTr", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        grid = np.eye(4) if affine is None else affine
        voxels = voxels[..., 0] if folder == "imagesTr" and channels == 1 else voxels
        nibabel.Nifti1Image(voxels, grid).to_filename(root / folder / f"{name}.nii.gz")


def write_scans(root: Path, names: Sequence[str], **settings) -> Path:
    """Several scans alike, and their dataset.json."""
    for name in names:
        write_scan(root, name, **settings)
    write_dataset(root, {"0": "background", "1": "liver", "2": "spleen"})
    return root


def write_dataset(root: Path, labels: Mapping[str, object] | None = None) -> None:
    """``dataset.json`` of the scans that are there."""
    names = sorted(file.name for file in (root / "imagesTr").iterdir())
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    content = {"training": training, **({} if labels is None else {"labels": labels})}
    (root / "dataset.json").write_text(json.dumps(content))


def folders(root: Path) -> dict[str, str]:
    """The two folders, as settings of the bundle."""
    return {"images": str(root / "imagesTr"), "labels": str(root / "labelsTr")}
