"""CSV files as spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from monai_ima.data import class_files
from monai_ima.data.patients import patients_by_file


def table(root: Path, text: str) -> Path:
    Image.new("L", (4, 4)).save(root / "a.png")
    (root / "t.csv").write_text(text)
    return root / "t.csv"


@pytest.mark.parametrize("header", ["image,label,patient", "Image,Label,Patient", "IMAGE, label ,PATIENT"])
def test_names_of_columns_are_found_however_they_are_written(header, tmp_path):
    (item,) = class_files(tmp_path, table(tmp_path, f"{header}\na.png,scar,p1\n"))
    assert (item["sample_id"], item["label"], item["patient"]) == ("a.png", 0, "p1")


def test_those_of_a_table_of_patients_too(tmp_path):
    file = tmp_path / "a.png"
    assert patients_by_file([file], tmp_path, table=table(tmp_path, "File,Patient\na.png,p1\n")) == {file: "p1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image;label\na.png;0\n", "separated by commas (found ';' in its first line); it has image;label."),
        ("image\tlabel\na.png\t0\n", "separated by commas (found '\\t' in its first line)"),
        ("file,label\na.png,0\n", "has no column image, expected the columns image, label and"),
        ("file,label\na.png,0\n", "; it has file, label."),
        ("", "; it has none."),
        ("image,label,Image\na.png,0,b.png\n", "has the column image 2 times, expected it once."),
        ("image,label,patient,Patient\na.png,0,1,2\n", "has the column patient 2 times, expected it once."),
    ],
)
def test_a_table_of_other_columns_is_refused_with_those_that_it_has(text, words, tmp_path):
    with pytest.raises(ValueError, match=r"t.csv has .*, expected .*\.$") as refused:
        class_files(tmp_path, table(tmp_path, text))
    assert words in str(refused.value)


def test_a_table_of_patients_with_semicolons_is_refused_alike(tmp_path):
    with pytest.raises(ValueError, match=r"has no column file, expected the columns file and patient .*found ';'"):
        patients_by_file([tmp_path / "a.png"], tmp_path, table=table(tmp_path, "file;patient\na.png;1\n"))
