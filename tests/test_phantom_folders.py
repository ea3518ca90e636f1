"""Folders of phantoms: a finished one is used again, an interrupted one is written again, any other is refused."""

from __future__ import annotations

import sys

import pytest

from monai_ima.data import write_oct_phantom, write_volume_phantom

SAME_SCANS = ({"train": 3, "val": 1, "test": 1}, 32)
SAME_VOLUMES = ("heart", 3, (16, 16, 16))
OTHER_VOLUMES = [("prostate", 3, 16), ("heart", 4, 16), ("heart", 3, 20), ("heart", 3, 16, 1)]
PHANTOMS = {
    "oct": (write_oct_phantom, "train/CNV", (3, 32), SAME_SCANS, [(3, 64), (2, 32), (3, 32, 1)]),
    "volume": (write_volume_phantom, "labelsTr", ("heart", 3, 16), SAME_VOLUMES, OTHER_VOLUMES),
}
"""Writer, one of its folders with three scans, settings, the same settings otherwise spelt, other settings."""


@pytest.fixture(params=PHANTOMS)
def phantom(request):
    return request.param, *PHANTOMS[request.param]


def content(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_finished_phantom_is_used_again_and_another_one_is_not_written_over(tmp_path, phantom):
    _, write, part, settings, same, others = phantom
    assert write(tmp_path, *settings) == tmp_path
    file = min((tmp_path / part).iterdir())
    stamp = file.stat().st_mtime_ns
    write(tmp_path, *same)
    for other in others:
        name = other[0] if isinstance(other[0], str) else "OCT"
        with pytest.raises(FileExistsError, match=f"not a synthetic {name} phantom of these settings"):
            write(tmp_path, *other)
    assert file.stat().st_mtime_ns == stamp
    file.unlink()
    with pytest.raises(FileExistsError, match=rf"{part} of the synthetic \w+ phantom holds 2 scans, expected 3"):
        write(tmp_path, *settings)


def test_an_interrupted_phantom_is_not_taken_for_a_finished_one(tmp_path, phantom, monkeypatch):
    name, write, _, settings, _, others = phantom
    module = sys.modules[f"monai_ima.data.{name}_phantom"]
    draw, drawn = getattr(module, f"{name}_phantom"), []

    def interrupted(*args):
        drawn.append(args)
        if len(drawn) > 2:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(module, f"{name}_phantom", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "p", *settings)
    monkeypatch.undo()
    assert not (tmp_path / "p" / "phantom.json").exists()
    with pytest.raises(FileExistsError, match="these settings"):
        write(tmp_path / "p", *others[1])
    write(tmp_path / "p", *settings)
    assert content(tmp_path / "p") == content(write(tmp_path / "unbroken", *settings))


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, phantom):
    _, write, _, settings, *_ = phantom
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        write(tmp_path / "file", *settings)
