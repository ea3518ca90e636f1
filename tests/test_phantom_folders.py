"""Folders of phantoms: a finished one is used again, an interrupted one is written again, any other is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from conftest import warm_programs

from monai_ima.data import write_oct_phantom, write_volume_phantom
from monai_ima.data.phantom import write_once

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
        with pytest.raises(FileExistsError, match=f"other files than the synthetic {name} phantom of these settings"):
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


WRITER = """
import sys, time
from pathlib import Path
from monai_ima.data import write_oct_phantom
root, there, together = map(Path, sys.argv[1:])
there.touch()
while not together.exists():
    time.sleep(0.001)
write_oct_phantom(root, {"train": 3, "val": 1, "test": 1}, 32)
print(sorted(file.name for file in root.rglob("*") if file.is_file()))
"""


def wait_for(*files):
    end = time.monotonic() + 120
    while not all(file.exists() for file in files):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_that_need_a_phantom_at_once_both_find_it_whole(tmp_path):
    there = [tmp_path / "a", tmp_path / "b"]
    writers = [
        subprocess.Popen(
            [warm_programs() / "python", "-c", WRITER, tmp_path / "phantom", file, tmp_path / "begin"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for file in there
    ]
    wait_for(*there)
    (tmp_path / "begin").touch()
    ends = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], ends
    unbroken = write_oct_phantom(tmp_path / "unbroken", *SAME_SCANS)
    names = sorted(file.name for file in content(unbroken))
    assert [out for out, _ in ends] == [f"{names}\n"] * 2
    assert content(tmp_path / "phantom") == content(unbroken)


KILLED = """
import os, signal, sys
from monai_ima.data.phantom import write_once

def write(root):
    (root / "a" / "0").touch()
    os.kill(os.getpid(), signal.SIGKILL)

write_once(sys.argv[1], {"data": "test"}, {"a/*": 2}, write)
"""


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
    killed = subprocess.run([warm_programs() / "python", "-c", KILLED, tmp_path])
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(FileExistsError, match="other files than the other of these settings"):
        write_once(tmp_path, {"data": "other"}, {"a/*": 2}, lambda _: None)
    write_once(tmp_path, {"data": "test"}, {"a/*": 2}, lambda root: (root / "a" / "1").touch())
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["0", "1", "a", "phantom.json"]
