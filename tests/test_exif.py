"""Pictures that are to be turned when they are read (EXIF): image, label and header agree, whatever their type."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import Brightness, write_pictures
from monai.bundle import ConfigParser
from PIL import Image

from monai_ima.__main__ import main
from monai_ima.data import ImageFileReader, PictureReader
from monai_ima.data.headers import read_header
from monai_ima.from_files.reading import find_files
from monai_ima.from_files.settings import FileSettings
from monai_ima.results.schema import Results

ORIENTATION = 0x0112
UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3)
LYING: list[Any] = [
    lambda a: a,
    np.fliplr,
    lambda a: np.rot90(a, 2),
    np.flipud,
    np.transpose,
    np.rot90,
    lambda a: np.rot90(np.transpose(a), 2),
    lambda a: np.rot90(a, -1),
]
"""What cameras write for EXIF's orientations 1 to 8."""


def save(file: Path, values: np.ndarray, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    file.parent.mkdir(exist_ok=True)
    compressed = {"compression": "tiff_lzw"} if file.suffix == ".tif" else {}
    Image.fromarray(np.ascontiguousarray(values)).save(file, exif=exif, **compressed)


def pair(
    root: Path, orientation: int, of_label: int | None, suffix: str = ".png", kind: Any = np.uint8
) -> FileSettings:
    lying = LYING[orientation - 1](UPRIGHT)
    save(root / "images" / f"a{suffix}", lying.astype(kind), orientation)
    save(root / "labels" / f"a{suffix}", lying, of_label)
    folders = {"images": str(root / "images"), "labels": str(root / "labels")}
    return FileSettings(model="m.ts", **folders, levels=0.1, out=str(root / "out"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "kind"), [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8)])
def test_image_label_and_header_are_turned_alike(orientation, suffix, kind, tmp_path):
    files = find_files(pair(tmp_path, orientation, orientation, suffix, kind))
    steps = {"_target_": "Compose", "transforms": files.transforms}
    read: Any = ConfigParser({"t": steps}).get_parsed_content("t")(files.items[0])
    for part in ("image", "label"):
        assert np.array_equal(read[part][0], UPRIGHT), part
        assert read_header(tmp_path / f"{part}s" / f"a{suffix}").shape == UPRIGHT.shape[::-1]


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
@pytest.mark.parametrize("of_label", [None, 1, 5])
def test_a_label_that_is_not_turned_as_its_image_is_refused(orientation, of_label, tmp_path):
    words = rf"Label .*labels/a.png has the EXIF orientation {of_label or 1} and .*a.png {orientation}, .*expected"
    with pytest.raises(ValueError, match=words):
        find_files(pair(tmp_path, orientation, of_label))


@pytest.mark.parametrize("orientation", [5, 6])
def test_a_tiff_file_that_pillow_scrambles_is_refused(orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = tmp_path / "a.tif"
    Image.fromarray(np.ascontiguousarray(LYING[orientation - 1](UPRIGHT))).save(file, exif=exif)
    words = f"a.tif is an uncompressed TIFF file with the EXIF orientation {orientation}, .* expected"
    with pytest.raises(ValueError, match=words):
        read_header(file)
    reader = PictureReader()
    with pytest.raises(ValueError, match=words):
        reader.get_data(reader.read(str(file)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_bundle_of_own_images_turns_pictures_of_many_bits_too(orientation, tmp_path):
    save(tmp_path / "a.png", LYING[orientation - 1](UPRIGHT).astype(np.uint16), orientation)
    read = ImageFileReader(intensity_range=(0, 5)).read(str(tmp_path / "a.png"))
    assert np.allclose(read[..., 0] * 5, UPRIGHT)


def test_an_orientation_that_there_is_not_turns_nothing(tmp_path):
    save(tmp_path / "images" / "a.png", UPRIGHT, 9)
    assert read_header(tmp_path / "images" / "a.png").orientation == 1


def test_a_classifier_takes_pictures_of_which_some_are_to_be_turned(tmp_path):
    pictures = write_pictures(tmp_path / "pictures")
    turned = shutil.copytree(pictures, tmp_path / "turned")
    for k in (0, 3):
        save(turned / f"p{k}.png", np.rot90(np.asarray(Image.open(turned / f"p{k}.png"))), 6)
    (tmp_path / "lying").mkdir()
    for k in range(6):
        shutil.copy(pictures / f"p{k}.png", tmp_path / "lying")
    save(tmp_path / "lying" / "p1.png", np.asarray(Image.open(pictures / "p1.png")), 6)
    shutil.copy(pictures / "labels.csv", tmp_path / "lying")
    torch.jit.script(Brightness()).save(tmp_path / "m.ts")
    found = []
    for folder in (pictures, turned, tmp_path / "lying"):
        words = [
            "--images",
            str(folder),
            "--labels",
            str(folder / "labels.csv"),
            "--out",
            str(tmp_path / f"{folder.name}_out"),
        ]
        more = ["--levels", "0.2", "--scale", "0:255", "--attack", "pgd5"]
        assert main(["evaluate", "--model", str(tmp_path / "m.ts"), "--cases", "0", *words, *more]) == 0
        found.append(Results.read(tmp_path / f"{folder.name}_out").attacks[-1].values)
    assert found[0] == found[1] == found[2]
