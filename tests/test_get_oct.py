from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import zipfile

import pytest
from conftest import REPO
from PIL import Image

from monai_ima.data import CLASSES


def jpeg():
    file = io.BytesIO()
    Image.effect_noise((16, 16), 50).save(file, "JPEG")
    return file.getvalue()


def members(root="OCT2017 "):
    """A small archive in the published layout; patient 0 is in train and in test."""
    content = jpeg()
    for split, patients in (("train", range(8)), ("test", (0, 20, 21))):
        for name in CLASSES:
            for patient in patients:
                yield f"{root}/{split}/{name}/{name}-{patient}-1.jpeg", content


def make_zip(path, content):
    with zipfile.ZipFile(path, "w") as pack:
        for name, data in content:
            pack.writestr(name, data)
    return path


def make_tar(path, content):
    with tarfile.open(path, "w:gz") as pack:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return path


def get_oct(*arguments):
    command = [sys.executable, str(REPO / "data_scripts" / "get_oct.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def sentence(run):
    """The one line on stderr, after progress bars."""
    return run.stderr.replace("\r", "\n").strip().splitlines()[-1]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_is_unpacked_checked_and_counted(tmp_path, make):
    archive = make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), members())
    run = get_oct("--out", tmp_path / "oct", "--from_file", archive)
    assert run.returncode == 0, run.stderr
    assert "Published split: 1 patients are both in train and in test" in run.stdout
    assert sorted(p.name for p in (tmp_path / "oct").iterdir()) == ["test", "train"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([archive.name, "oct"])


def test_an_unpacked_folder_is_copied(tmp_path):
    with zipfile.ZipFile(make_zip(tmp_path / "a.zip", members())) as pack:
        pack.extractall(tmp_path / "there")
    assert get_oct("--out", tmp_path / "oct", "--from_dir", tmp_path / "there").returncode == 0
    assert (tmp_path / "there" / "OCT2017 " / "train").is_dir()
    assert (tmp_path / "oct" / "train" / "CNV").is_dir()


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_member_that_points_outside_is_refused(tmp_path, make):
    archive = make(tmp_path / "a.archive", [*members(), ("../../evil.txt", b"x")])
    run = get_oct("--out", tmp_path / "deep" / "oct", "--from_file", archive)
    assert run.returncode == 2
    assert "evil.txt" in sentence(run)
    assert not (tmp_path / "deep" / "oct").exists()
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_damaged_image_is_named_and_nothing_is_left(tmp_path):
    content = dict(members())
    content["OCT2017 /train/DME/DME-3-1.jpeg"] = jpeg()[:-300]
    run = get_oct("--out", tmp_path / "oct", "--from_file", make_zip(tmp_path / "a.zip", content.items()))
    assert run.returncode == 2
    assert "DME-3-1.jpeg" in sentence(run)
    assert not (tmp_path / "oct").exists()


def test_bad_use_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", members())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    (tmp_path / "text.zip").write_text("no archive")
    empty = make_zip(tmp_path / "empty.zip", [("readme.txt", b"")])
    for arguments, words in [
        (("--from_file", archive, "--out", tmp_path / "used"), "exists already"),
        (("--out", tmp_path / "o"), "exactly one of"),
        (("--from_file", tmp_path / "none.zip", "--out", tmp_path / "o"), "does not exist"),
        (("--from_file", tmp_path / "text.zip", "--out", tmp_path / "o"), "cannot be unpacked"),
        (("--from_file", empty, "--out", tmp_path / "o"), "Kermany's layout"),
        (("--from_file", archive, "--sha256", "abc", "--out", tmp_path / "o"), "expected abc"),
    ]:
        run = get_oct(*arguments)
        assert run.returncode == 2, arguments
        assert words in sentence(run)
        assert not (tmp_path / "o").exists()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path):
    archive = make_zip(tmp_path / "served.zip", members())
    data, ranges = archive.read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:] if asked else data[:1000])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/files/OCT.zip"
        folder = tmp_path / "data"
        broken = get_oct("--out", folder / "oct", "--url", url)
        assert broken.returncode == 2
        assert "broke off at 1000 of" in sentence(broken)
        digest = hashlib.sha256(data).hexdigest()
        whole = get_oct("--out", folder / "oct", "--url", url, "--sha256", digest)
    finally:
        server.shutdown()
    assert whole.returncode == 0, whole.stderr
    assert ranges == [None, "bytes=1000-"]
    assert (folder / "OCT.zip").read_bytes() == data
