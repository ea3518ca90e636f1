"""Images and labels of two folders that go together by name, whose headers agree."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image

from monai_ima.data import check_grids, class_files, image_label_pairs, table_classes
from monai_ima.data.headers import read_header

SHAPE = (4, 5, 6)


def scans(root: Path, folder: str, *names: str, shape: tuple[int, ...] = SHAPE) -> Path:
    (root / folder).mkdir(exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), np.diag([1, 2, 3, 1])), root / folder / name)
    return root / folder


def test_names_with_and_without_nnunets_number_go_together(tmp_path):
    images = scans(tmp_path, "images", "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii")
    labels = scans(tmp_path, "labels", "b.nii.gz", "a.nii")
    items = image_label_pairs(images, str(labels))
    assert items == [
        {"image": [str(images / f"{name}_0000.nii.gz"), str(images / second)], "label": str(label), "sample_id": name}
        for name, second, label in (
            ("a", "a_0001.nii.gz", labels / "a.nii"),
            ("b", "b_0001.nii", labels / "b.nii.gz"),
        )
    ]
    check_grids(items)


def test_numbered_scans_are_not_taken_for_channels(tmp_path):
    images, labels = (scans(tmp_path, name, "s_0001.nii", "s_0002.nii") for name in ("images", "labels"))
    assert [item["sample_id"] for item in image_label_pairs(images, labels)] == ["s_0001", "s_0002"]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (
            ["a_0000.nii", "a_0001.nii", "b_0000.nii"],
            ["a.nii", "b.nii"],
            "Image b has the channels 0000, expected 0000",
        ),
        (["a.nii", "a_0000.nii"], ["a.nii"], "are of one image"),
        (["a.nii", "b.nii", "c.nii", "d.nii", "e.nii"], ["a.nii"], "4 image(s)"),
        (["s_0001.nii", "s_0002.nii"], ["s_0001.nii"], "s_0002.nii"),
        (["a.nii"], ["a.nii", "b.nii"], "1 label(s)"),
        (["a.nii"], ["b.nii"], "such as a.nii and b.nii"),
        (["a.nii"], [], "labels holds no image files"),
    ],
)
def test_files_that_do_not_go_together_are_named(images, labels, words, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        image_label_pairs(scans(tmp_path, "images", *images), scans(tmp_path, "labels", *labels))
    assert words in str(refused.value)


def test_another_channel_on_another_grid_is_refused(tmp_path):
    images = scans(tmp_path, "images", "a_0000.nii")
    scans(tmp_path, "images", "a_0001.nii", shape=(4, 5, 7))
    items = image_label_pairs(images, scans(tmp_path, "labels", "a.nii"))
    with pytest.raises(
        ValueError, match=r"a_0001.nii has shape \(4, 5, 7\), expected \(4, 5, 6\) as its first channel"
    ):
        check_grids(items)


def test_a_label_in_colour_or_of_another_kind_is_refused(tmp_path):
    Image.new("RGB", (4, 5)).save(tmp_path / "a.png")
    picture, scan = str(tmp_path / "a.png"), str(scans(tmp_path, "images", "a.nii", shape=(4, 5)) / "a.nii")
    with pytest.raises(ValueError, match="picture of mode RGB, expected class indices"):
        check_grids([{"image": picture, "label": picture}])
    with pytest.raises(ValueError, match="of another kind than its image"):
        check_grids([{"image": picture, "label": scan}])


def test_several_pages_are_refused(tmp_path):
    page = Image.new("L", (4, 5))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(ValueError, match="holds 2 pages, expected one"):
        read_header(tmp_path / "a.tif")


def test_classes_of_a_table_are_its_integers_or_its_names_in_order(tmp_path):
    table = tmp_path / "labels.csv"
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 5)).save(tmp_path / name)
    table.write_text("image,label\na.png,3\nb.png,1\n")
    assert table_classes(table, tmp_path) == ["0", "1", "2", "3"]
    assert [item["label"] for item in class_files(tmp_path, table)] == [3, 1]
    table.write_text("image,label\na.png,sick\nb.png,healthy\n")
    assert [item["label"] for item in class_files(tmp_path, table)] == [1, 0]
    with pytest.raises(ValueError, match=r"Label 'sick' in .* is unknown, expected one of ill, healthy"):
        class_files(tmp_path, table, ["ill", "healthy"])


def turned_nrrd(file: Path) -> None:
    """A file whose axes are swapped and turned, written by hand in the LPS space of the format."""
    values = np.arange(60, dtype="<f4")
    header = (
        "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 4 5\n"
        "space directions: (0,1,0) (2,0,0) (0,0,-3)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (10,20,30)\n\n"
    )
    file.write_bytes(header.encode() + values.tobytes())


def test_the_header_of_a_nrrd_file_says_what_monai_reads(tmp_path):
    pytest.importorskip("nrrd")
    turned_nrrd(tmp_path / "a.nrrd")
    header, image = read_header(tmp_path / "a.nrrd"), LoadImage()(tmp_path / "a.nrrd")
    assert header.affine is not None
    assert (header.shape, header.channels) == (tuple(image.shape), 1)
    np.testing.assert_allclose(header.affine, image.affine)
    np.testing.assert_allclose(header.affine, [[0, -2, 0, -10], [-1, 0, 0, -20], [0, 0, -3, 30], [0, 0, 0, 1]])


def test_the_header_of_a_metaimage_says_what_monai_reads(tmp_path):
    pytest.importorskip("itk")
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        b"TransformMatrix = 0 1 0 1 0 0 0 0 -1\nOffset = 10 20 30\nElementSpacing = 1 2 3\nDimSize = 3 4 5\n"
        b"ElementType = MET_FLOAT\nElementDataFile = LOCAL\n" + np.arange(60, dtype="<f4").tobytes()
    )
    header, image = read_header(tmp_path / "a.mha"), LoadImage()(tmp_path / "a.mha")
    assert header.affine is not None
    assert (header.shape, header.channels) == (tuple(image.shape), 1)
    np.testing.assert_allclose(header.affine, image.affine)
    np.testing.assert_allclose(header.affine, [[0, -2, 0, -10], [-1, 0, 0, -20], [0, 0, -3, 30], [0, 0, 0, 1]])
    np.testing.assert_array_equal(image.numpy(), np.arange(60).reshape(5, 4, 3).T)
