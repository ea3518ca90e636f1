"""Small synthetic data in the layouts that the bundles of the model zoo read; every class is in every label map.

An image's intensities rise with the label and carry noise. Nothing is learnt from them but that the code runs.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from PIL import Image

from model_zoo_copy import SIZE, Entry, literal

__all__ = ["make_data"]

TRAIN, VAL = 4, 2
MARGIN = 4


@dataclass(frozen=True)
class Recipe:
    """How the images of a bundle look.

    Attributes:
        folder: they are written to.
        labels: values in the label maps.
        shape: of a volume.
        spacing: of a voxel, mm.
        intensities: lowest and highest.
        entry: of the table.
    """

    folder: Path
    labels: Sequence[int]
    shape: Sequence[int]
    spacing: Sequence[float]
    intensities: Sequence[float]
    entry: Entry

    def label(self, seed: int, shape: Sequence[int] | None = None) -> np.ndarray:
        """A label map of boxes in which each value occurs, in an order that is drawn."""
        shape = self.shape if shape is None else shape
        values = np.random.RandomState(seed).permutation(np.asarray(self.labels))
        count = int(np.ceil(len(values) ** (1 / len(shape))))
        code = np.zeros(shape, dtype=int)
        for axis in np.ogrid[tuple(slice(0, n) for n in shape)]:
            code = code * count + axis * count // max(axis.size, 1)
        return values[code % len(values)].astype(np.uint8)

    def image(self, label: np.ndarray, seed: int) -> np.ndarray:
        """An image of a label map."""
        low, high = self.intensities
        share = np.searchsorted(np.sort(self.labels), label) / max(len(self.labels) - 1, 1)
        noise = np.random.RandomState(seed).uniform(-0.15, 0.15, label.shape)
        return (low + (high - low) * (0.2 + 0.6 * share + noise)).astype(np.float32)

    def save_volume(self, volume: np.ndarray, name: str) -> str:
        """Write a NIfTI file; returns the name."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        spacing = (*self.spacing, 1.0)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag(spacing)), file)
        return name

    def save_scan(self, seed: int, image: str, label: str) -> dict[str, Any]:
        """Write an image, a file for each channel, and its label map as NIfTI files; returns their names."""
        values = self.label(seed)
        channels = self.entry.get("channels", 1)
        names = [image] if channels == 1 else [f"channel{channel}_{image}" for channel in range(channels)]
        files = [self.save_volume(self.image(values, 10 * seed + channel), name) for channel, name in enumerate(names)]
        return {"image": files[0] if channels == 1 else files, "label": self.save_volume(values, label)}

    def save_picture(self, picture: np.ndarray, name: str) -> str:
        """Write a picture whose first axis is the rows; returns the file with its folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(file)
        return str(file)

    def write_json(self, content: Any, name: str) -> None:
        """Write a data list."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(json.dumps(content), encoding="utf-8")


def make_data(config: Mapping[str, Any], folder: Path, entry: Entry) -> None:
    """Make the data of a bundle.

    Args:
        config: its training config, small.
        folder: to write to.
        entry: of the table; ``data`` names the layout.
    """
    limits = [literal(config, "ScaleIntensityRanged", name) for name in ("a_min", "a_max")]
    size = entry.get("size", SIZE)
    recipe = Recipe(
        folder=folder,
        labels=entry.get("labels") or range(_classes(config)),
        shape=entry.get("shape", [size + MARGIN] * 3),
        spacing=entry.get("spacing") or literal(config, "Spacingd", "pixdim") or [1.0] * 3,
        intensities=(0.0, 255.0) if None in limits else limits,
        entry=entry,
    )
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[entry["data"]](recipe)


def _classes(config: Mapping[str, Any]) -> int:
    """How many classes the network tells apart; one output tells two."""
    network = config.get("network_def", {})
    candidates = [network.get(name) for name in ("out_channels", "num_classes", "out_classes")]
    candidates += [config.get(name) for name in ("num_classes", "output_classes")]
    return max(2, next(number for number in candidates if isinstance(number, int)))


def _colours(recipe: Recipe, label: np.ndarray, seed: int) -> np.ndarray:
    return np.stack([np.clip(recipe.image(label, seed + k), 0, 255) for k in range(3)], axis=-1)


def _square(label: int, rows: int) -> np.ndarray:
    """A square in the middle that is the larger the higher the class: visible whatever scales the intensities."""
    square = np.zeros((rows, SIZE), dtype=int)
    middle = slice(SIZE // 2 - 2 - 3 * label, SIZE // 2 + 2 + 3 * label)
    square[middle, middle] = 1
    return square


def _folders(recipe: Recipe) -> None:
    """Volumes in a folder of images and one of labels, the same names in both; the last ones validate."""
    images, labels = recipe.entry.get("folders", ("imagesTr", "labelsTr"))
    for k in range(TRAIN + VAL):
        recipe.save_scan(k, f"{images}/scan{k}.nii.gz", f"{labels}/scan{k}.nii.gz")


def _datalist(recipe: Recipe) -> None:
    """Volumes and a data list of the Decathlon."""
    scans = [recipe.save_scan(k, f"scan{k}_image.nii.gz", f"scan{k}_label.nii.gz") for k in range(TRAIN + VAL)]
    recipe.write_json({"training": scans[:TRAIN], "validation": scans[TRAIN:]}, "datalist.json")


def _pairs(recipe: Recipe) -> None:
    """Volumes ``img*.nii.gz`` and ``lbl*.nii.gz``."""
    for k in range(TRAIN + 1):
        recipe.save_scan(k, f"img{k}.nii.gz", f"lbl{k}.nii.gz")


def _prostate(recipe: Recipe) -> None:
    """Volumes that are named in two CSV files."""
    for name, seeds in (("train", range(TRAIN)), ("valid", range(TRAIN, TRAIN + VAL))):
        scans = [recipe.save_scan(k, f"{name}/{k}/t2.nii.gz", f"{name}/{k}/anatomy.nii.gz") for k in seeds]
        rows = [["t2", "t2_anatomy_reader1"], *([scan["image"], scan["label"]] for scan in scans)]
        _write_csv(recipe.folder / f"{name}.csv", rows)


def _phases(recipe: Recipe) -> None:
    """Volumes of three phases of one scan, a folder for each scan."""
    for k in range(TRAIN):
        values = recipe.label(k)
        for phase, name in enumerate(("12", "22-", "32-")):
            recipe.save_volume(recipe.image(values, 10 * k + phase), f"case{k}/{name}.nii.gz")
        recipe.save_volume(values, f"case{k}/merged.nii.gz")


def _npz(recipe: Recipe) -> None:
    """Slices in one file of arrays."""
    labels = [recipe.label(k, (SIZE, SIZE)) for k in range(10)]
    images = [recipe.image(label, k) for k, label in enumerate(labels)]
    np.savez(recipe.folder / "allimages3label.npz", images=np.stack(images), segs=np.stack(labels))


def _classes_2d(recipe: Recipe) -> None:
    """Slices as NIfTI files, and a list with the class of each."""
    items = []
    for k in range(4 * (TRAIN + 1)):
        label = k % len(recipe.labels)
        name = recipe.save_volume(recipe.image(_square(label, SIZE), k), f"img{k}.nii.gz")
        items.append({"image": str(recipe.folder / name), "label": label})
    recipe.write_json(items, "samples.json")


def _photos(recipe: Recipe) -> None:
    """JPEG files, and lists with the class of each."""
    for name, seeds in (("train", range(TRAIN)), ("val", range(TRAIN, TRAIN + VAL))):
        items = []
        for k in seeds:
            picture = recipe.save_picture(_colours(recipe, _square(2 * (k % 2), SIZE + MARGIN), k), f"{name}{k}.jpg")
            items.append({"image": picture, "label": k % 2})
        recipe.write_json(items, f"{name}.json")


def _frames(recipe: Recipe) -> None:
    """JPEG files of images and of label maps, discs of 255 that JPEG blurs, in a folder for each video."""
    rows, columns = np.ogrid[: SIZE + MARGIN, :SIZE]
    for name, seeds in (("train", range(TRAIN)), ("val", range(TRAIN, TRAIN + VAL))):
        for k in seeds:
            label = ((rows - SIZE // 2) ** 2 + (columns - SIZE // 2) ** 2 < (6 + k) ** 2).astype(int)
            recipe.save_picture(_colours(recipe, label, k), f"{name}/video/frame{k}.jpg")
            recipe.save_picture(255 * label, f"{name}/video/frame{k}_seg.jpg")


def _nuclei(recipe: Recipe) -> None:
    """PNG files of a nucleus of one of four classes in the middle and of another one (255) beside it."""
    items = []
    for k in range(TRAIN + VAL):
        label = np.zeros((SIZE, SIZE), dtype=int)
        label[10:22, 10:22] = 1 + k % 4
        picture = recipe.save_picture(_colours(recipe, label, k), f"image{k}.png")
        label[2:8, 2:8] = 255
        items.append({"image": picture, "label": recipe.save_picture(label, f"label{k}.png")})
    recipe.write_json({"training": items[:TRAIN], "validation": items[TRAIN:]}, "dataset.json")


def _hovernet(recipe: Recipe) -> None:
    """Arrays of image, nuclei and classes of nuclei; for the evaluation's config also both label maps in one."""
    size = recipe.entry["size"]
    for name, seeds in (("Train", range(VAL)), ("Test", range(VAL, VAL + 1))):
        (recipe.folder / name).mkdir(parents=True, exist_ok=True)
        for k in seeds:
            kinds = recipe.label(k, (size, size))
            kinds[:: size // 8], kinds[:, :: size // 8] = 0, 0
            nuclei = (kinds > 0).astype(np.int32)
            image = _colours(recipe, kinds, k).astype(np.uint8)
            arrays: dict[str, Any] = {
                f"{k}_image": image,
                f"{k}_inst_map": nuclei[..., None],
                f"{k}_type_map": kinds[..., None],
            }
            arrays |= {f"image{k}": image, f"label{k}": np.stack([nuclei, kinds], axis=-1)}
            for file, array in arrays.items():
                np.save(recipe.folder / name / f"{file}.npy", array)


def _slides(recipe: Recipe) -> None:
    """Slides, and places on them with the labels of 3 x 3 patches."""
    size = 4 * SIZE
    folder = recipe.folder / "training" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in range(TRAIN + VAL):
        label = np.full((size, size), k % 2)
        tifffile.imwrite(folder / f"slide{k}.tif", _colours(recipe, label, k).astype(np.uint8), photometric="rgb")
        rows.append([f"slide{k}", size // 2, size // 2, *[k % 2] * 9])
    _write_csv(recipe.folder / "training.csv", rows[:TRAIN])
    _write_csv(recipe.folder / "validation.csv", rows[TRAIN:])


def _write_csv(file: Path, rows: list[list[Any]]) -> None:
    with open(file, "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(rows)


LAYOUTS: dict[str, Callable[[Recipe], None]] = {
    "classes": _classes_2d,
    "datalist": _datalist,
    "folders": _folders,
    "frames": _frames,
    "hovernet": _hovernet,
    "npz": _npz,
    "nuclei": _nuclei,
    "pairs": _pairs,
    "phases": _phases,
    "photos": _photos,
    "prostate": _prostate,
    "slides": _slides,
}
