"""Pictures from other cameras: upright, 8 bits, nothing turned white."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REPO
from monai.transforms import LoadImage
from PIL import Image

from monai_ima.data import PictureReader
from monai_ima.data.folders import DamagedImageError
from monai_ima.data.pictures import decode_all

READ = LoadImage(reader=PictureReader(), image_only=True, dtype=np.float32)


@pytest.mark.parametrize("top", [4095, 65535])
def test_sixteen_bits_are_refused_by_name(top, tmp_path):
    file = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)).save(file)
    with pytest.raises(ValueError, match=r"deep.png has more than 8 bits a pixel"):
        READ(file)
    with pytest.raises(DamagedImageError, match=r"deep.png has more than 8 bits a pixel"):
        decode_all([file])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_a_camera_notes_is_carried_out(orientation, tmp_path):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.transpose(a), 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "scan.png"
    Image.fromarray(np.ascontiguousarray(turns[orientation](upright))).save(file, exif=exif)
    assert np.array_equal(READ(file), upright)


def test_the_bundles_read_pictures_with_it():
    for config in REPO.glob("bundles/*/configs/*.json"):
        text = config.read_text()
        assert "PILReader" not in text, config
