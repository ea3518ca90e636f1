from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import get_oct
import pytest
from archives import download
from PIL import Image
from script_runs import Script, make_tar, serve

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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in content:
            pack.writestr(name, data)
    return path


@pytest.fixture
def script(capsys):
    return Script(get_oct.get, capsys)


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("root", ["OCT2017 ", "CellData/OCT"])
def test_an_archive_is_unpacked_checked_and_counted(tmp_path, script, make, root):
    hidden = [(f"__MACOSX/{root}/train/CNV/._CNV-0-1.jpeg", b"x"), ("CellData/chest_xray/train/NORMAL/a.jpeg", b"x")]
    archive = make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), [*hidden, *members(root)])
    out = script.run("--out", tmp_path / "oct", "--from_file", archive)
    assert "44 scans, all readable, of 10 patients." in out
    assert "1 patients are both in train and in test" in out
    assert sorted(p.name for p in (tmp_path / "oct").iterdir()) == ["test", "train"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([archive.name, "oct"])
    assert len(list((tmp_path / "oct" / "train" / "CNV").glob("CNV-*.jpeg"))) == 8


def test_an_unpacked_folder_is_copied_and_left_as_it_was(tmp_path, script):
    with zipfile.ZipFile(make_zip(tmp_path / "a.zip", members("OCT2017 "))) as pack:
        pack.extractall(tmp_path / "there")
    (tmp_path / "there" / "OCT2017 " / "test").rename(tmp_path / "there" / "OCT2017 " / "test ")
    before = sorted(tmp_path.glob("there/**/*"))
    script.run("--out", tmp_path / "oct", "--from_dir", tmp_path / "there")
    assert sorted(tmp_path.glob("there/**/*")) == before
    assert sorted(p.name for p in (tmp_path / "oct").iterdir()) == ["test", "train"]


def test_the_target_may_lie_beside_the_scans_but_not_in_them(tmp_path, script):
    with zipfile.ZipFile(make_zip(tmp_path / "a.zip", members("OCT2017"))) as pack:
        pack.extractall(tmp_path / "there")
    source = ("--from_dir", tmp_path / "there")
    error = script.refused("--out", tmp_path / "there" / "OCT2017" / "train" / "oct", *source)
    assert "inside the scans' own folder" in error
    script.run("--out", tmp_path / "there" / "oct", *source)
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == ["OCT2017", "oct"]


@pytest.mark.parametrize(
    ("make", "evil"),
    [(make_zip, "../../evil.txt"), (make_tar, "../../evil.txt"), (make_zip, "/tmp/monai_ima_evil/evil.txt")],
)
def test_a_member_that_points_outside_is_refused_by_name(tmp_path, script, make, evil):
    archive = make(tmp_path / "a.archive", [*members(), (evil, b"x")])
    assert "evil.txt" in script.refused("--out", tmp_path / "deep" / "oct", "--from_file", archive)
    assert not list((tmp_path / "deep").iterdir())
    assert not list(tmp_path.rglob("evil.txt"))
    assert not Path("/tmp/monai_ima_evil").exists()


def test_a_link_that_points_outside_is_refused_by_name(tmp_path, script):
    archive = make_tar(tmp_path / "a.tar.gz", members())
    with tarfile.open(tmp_path / "b.tar", "w") as pack:
        info = tarfile.TarInfo("OCT2017/link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../../outside"
        pack.addfile(info)
    assert "OCT2017/link" in script.refused("--out", tmp_path / "oct", "--from_file", tmp_path / "b.tar")
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, "b.tar"]


def test_a_damaged_image_is_named_and_nothing_is_left_even_of_a_patient_in_two_splits(tmp_path, script):
    for patient in (3, 0):
        content = dict(members())
        content[f"OCT2017 /train/DME/DME-{patient}-1.jpeg"] = jpeg()[:-300]
        archive = make_zip(tmp_path / "a.zip", content.items())
        assert f"DME-{patient}-1.jpeg" in script.refused("--out", tmp_path / "oct", "--from_file", archive)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def damaged(path, position):
    """The file with a byte changed."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)
    return path


def test_bad_use_is_refused_in_one_sentence(tmp_path, script):
    archive = make_zip(tmp_path / "a.zip", members())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    (tmp_path / "text.zip").write_text("no archive")
    empty = make_zip(tmp_path / "empty.zip", [("readme.txt", b"")])
    misspelt = make_zip(tmp_path / "m.zip", [(n.replace("DRUSEN", "DRUSSEN"), d) for n, d in members()])
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(make_tar(tmp_path / "whole.tar.gz", members()).read_bytes()[:1000])
    flipped = damaged(make_zip(tmp_path / "flipped.zip", members()), 30 + len("OCT2017 /train/CNV/CNV-0-1.jpeg"))
    out = ("--out", tmp_path / "o")
    for arguments, words in [
        (("--from_file", archive, "--out", tmp_path / "used"), "used exists already"),
        (("--from_file", archive), "--out is missing"),
        (("--from_file", archive, *out, "--shasum", "abc"), "Unknown option --shasum"),
        (("--from_file", archive, "--from_dir", tmp_path, *out), "Got several sources"),
        (("--from_dir", tmp_path, "--sha256", "abc", *out), "Got --sha256 and --from_dir"),
        (("--from_dir", tmp_path / "none", *out), "none does not exist"),
        (("--from_file", tmp_path / "none.zip", *out), "none.zip does not exist"),
        (("--from_file", tmp_path / "text.zip", *out), "text.zip cannot be unpacked"),
        (("--from_file", cut, *out), "cut.tar.gz cannot be unpacked"),
        (("--from_file", flipped, *out), "flipped.zip cannot be unpacked"),
        (("--from_file", empty, *out), "Kermany's layout"),
        (("--from_file", misspelt, *out), "DRUSSEN is not a class"),
        (("--from_file", archive, "--sha256", "abc", *out), "expected abc"),
        (("--url", "http://127.0.0.1:9/a.zip", *out), "Cannot download http://127.0.0.1:9/a.zip"),
    ]:
        assert words in script.refused(*arguments)
        assert not (tmp_path / "o").exists()
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["x"]


@pytest.fixture
def server():
    """Serves ``data``; its first answer breaks off after 1000 bytes."""
    with serve(lambda _: state.data) as state:
        state.url += "/OCT.zip"
        state.break_at["OCT.zip"] = 1000
        yield state


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, script, server):
    server.data = make_zip(tmp_path / "served.zip", members()).read_bytes()
    folder = tmp_path / "data"
    broken = script.refused("--out", folder / "oct", "--url", server.url)
    assert f"broke off at 1000 of {len(server.data)} bytes" in broken
    digest = hashlib.sha256(server.data).hexdigest()
    script.run("--out", folder / "oct", "--url", server.url, "--sha256", digest)
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-"]
    (archive,) = folder.glob("*-OCT.zip")
    assert archive.read_bytes() == server.data
    assert sorted(p.name for p in folder.iterdir()) == [archive.name, "oct"]


def test_a_download_that_was_complete_but_not_renamed_is_taken(tmp_path, server):
    server.data = make_zip(tmp_path / "served.zip", members()).read_bytes()
    with pytest.raises(OSError, match="broke off"):
        download(server.url, tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(server.data)
    assert download(server.url, tmp_path).read_bytes() == server.data
    assert not part.exists()


def test_another_address_with_the_same_file_name_is_not_mixed_up(tmp_path, server):
    server.data = bytes(900)
    one = download(server.url, tmp_path)
    server.data = bytes(800)
    assert download(server.url, tmp_path) == one
    other = download(server.url.replace("/files/", "/other/"), tmp_path)
    assert (one.stat().st_size, other.stat().st_size) == (900, 800)
