from __future__ import annotations

import hashlib
import tarfile

import get_msd
import pytest
from monai.apps import DecathlonDataset
from script_runs import Script, make_tar, serve

from monai_ima.data import msd_datalist, write_volume_phantom

KEY = "Task04_Hippocampus"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write_volume_phantom(tmp_path_factory.mktemp("phantom") / "p", "hippocampus", 4, 16)


def members(phantom, root=KEY):
    """The files of a small archive as it is published: hidden ones, and one scan without a label."""
    scan = (phantom / "imagesTr" / "hippocampus_000.nii.gz").read_bytes()
    content = {f"{root}/._dataset.json": b"x", f"{root}/imagesTr/._hippocampus_000.nii.gz": b"x"}
    content |= {f"{root}/imagesTs/hippocampus_900.nii.gz": scan}
    files = [phantom / "dataset.json", *phantom.glob("*Tr/*.nii.gz")]
    return content | {f"{root}/{file.relative_to(phantom)}": file.read_bytes() for file in files}


@pytest.fixture
def archive(tmp_path, phantom, monkeypatch):
    """A small archive whose checksum is the published one."""
    file = make_tar(tmp_path / "served" / f"{KEY}.tar", members(phantom), "w")
    monkeypatch.setitem(DecathlonDataset.md5, KEY, hashlib.md5(file.read_bytes()).hexdigest())
    return file


@pytest.fixture
def server(archive, monkeypatch):
    with serve(lambda name: (archive.parent / name).read_bytes()) as state:
        monkeypatch.setitem(DecathlonDataset.resource, KEY, f"{state.url}/{KEY}.tar")
        yield state


@pytest.fixture
def script(capsys):
    return Script(get_msd.get, capsys, "--task", "hippocampus")


def test_an_archive_is_unpacked_checked_and_counted(tmp_path, script, archive):
    out = script.run("--out", tmp_path / "data" / "msd", "--from_file", archive)
    assert out == f"4 labelled scans, all readable; 1 without a label.\nReady: {tmp_path / 'data' / 'msd'}\n"
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["msd"]
    assert sum(len(items) for items in msd_datalist(tmp_path / "data" / "msd", classes=3).values()) == 4


def test_without_a_source_the_published_archive_is_downloaded_once(tmp_path, script, server):
    for name in ("one", "two"):
        out = script.run("--out", tmp_path / "data" / name)
        assert "4 labelled scans, all readable; 1 without a label." in out
    assert server.asked == [(f"{KEY}.tar", None)]
    (kept,) = (tmp_path / "data").glob("*.tar")
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == sorted([kept.name, "one", "two"])


@pytest.mark.parametrize("source", ["server", "file"])
def test_an_archive_with_another_checksum_is_refused(tmp_path, script, server, archive, monkeypatch, source):
    monkeypatch.setitem(DecathlonDataset.md5, KEY, "0" * 32)
    given = ("--from_file", archive) if source == "file" else ()
    error = script.refused("--out", tmp_path / "data" / "msd", *given)
    assert f"{KEY}.tar has md5 {hashlib.md5(archive.read_bytes()).hexdigest()}, expected {'0' * 32}." in error
    assert not list((tmp_path / "data").glob("[!.]*/"))


def test_a_file_with_another_checksum_is_taken_when_the_user_says_so(tmp_path, script, phantom):
    file = make_tar(tmp_path / "a.tar", {k: v for k, v in members(phantom).items() if "imagesTs" not in k})
    out = script.run("--out", tmp_path / "msd", "--from_file", file, "--skip_checksum")
    assert "4 labelled scans, all readable; 0 without a label." in out
    assert (tmp_path / "msd" / "dataset.json").is_file()


def test_the_published_archives_are_known():
    assert set(get_msd.ARCHIVES) == {"hippocampus", "heart", "prostate"}
    assert set(get_msd.ARCHIVES.values()) <= set(DecathlonDataset.resource) & set(DecathlonDataset.md5)


def test_an_unpacked_folder_is_copied_without_hidden_files_and_left_as_it_was(tmp_path, script, archive):
    with tarfile.open(archive) as pack:
        pack.extractall(tmp_path / "there", filter="data")
    (tmp_path / "there" / "Task02_Heart").mkdir()
    (tmp_path / "there" / "Task02_Heart" / "dataset.json").write_text("{}")
    before = sorted(tmp_path.glob("there/**/*"))
    script.run("--out", tmp_path / "msd", "--from_dir", tmp_path / "there")
    assert sorted(tmp_path.glob("there/**/*")) == before
    assert sorted(p.name for p in (tmp_path / "msd").rglob("*") if p.name.startswith(".")) == []
    assert sorted(p.name for p in (tmp_path / "msd").iterdir()) == ["dataset.json", "imagesTr", "imagesTs", "labelsTr"]
    error = script.refused("--out", tmp_path / "there" / KEY / "new", "--from_dir", tmp_path / "there")
    assert "inside the scans' own folder" in error
    assert sorted(tmp_path.glob("there/**/*")) == before


def test_a_damaged_scan_is_named_and_nothing_is_left(tmp_path, script, phantom):
    content = members(phantom)
    content[f"{KEY}/labelsTr/hippocampus_002.nii.gz"] = content[f"{KEY}/labelsTr/hippocampus_002.nii.gz"][:-60]
    file = make_tar(tmp_path / "a.tar", content)
    error = script.refused("--out", tmp_path / "msd", "--from_file", file, "--skip_checksum")
    assert "labelsTr/hippocampus_002.nii.gz cannot be read" in error
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_the_scans_of_another_task_are_refused(tmp_path, script, phantom):
    file = make_tar(tmp_path / "a.tar", members(phantom))
    for task, words in (("heart", "expected integers from 0 to 1"), ("prostate", "expected [x, y, z, 2]")):
        other = ("--out", tmp_path / "msd", "--from_file", file, "--skip_checksum", "--task", task)
        assert words in script.refused(*other)
        assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_bad_use_is_refused_in_one_sentence(tmp_path, script, phantom, archive):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    (tmp_path / "text.tar").write_text("no archive")
    short = tmp_path / "short.tar"
    short.write_bytes(archive.read_bytes()[:5000])
    evil = make_tar(tmp_path / "evil.tar", {**members(phantom), "../../evil.txt": b"x"})
    empty = make_tar(tmp_path / "empty.tar", {"readme.txt": b""})
    twice = make_tar(tmp_path / "twice.tar", {**members(phantom, "a"), **members(phantom, "b")})
    out, skip = ("--out", tmp_path / "deep" / "o"), "--skip_checksum"
    for arguments, words in [
        (("--from_file", archive, "--out", tmp_path / "used"), "used exists already"),
        (("--from_file", archive), "--out is missing"),
        (("--from_file", archive, *out, "--md", "abc"), "Unknown option --md"),
        (("--from_file", archive, "--from_dir", tmp_path, *out), "Got several sources"),
        (("--from_dir", tmp_path, skip, *out), "--skip_checksum without --from_file"),
        ((skip, *out), "--skip_checksum without --from_file"),
        (("--from_dir", tmp_path / "none", *out), "none does not exist"),
        (("--from_file", tmp_path / "none.tar", *out), "none.tar does not exist"),
        (("--from_file", tmp_path / "text.tar", skip, *out), "text.tar cannot be unpacked"),
        (("--from_file", short, skip, *out), "short.tar cannot be unpacked"),
        (("--from_file", evil, skip, *out), "evil.txt"),
        (("--from_file", empty, skip, *out), "0 folders with a dataset.json were found"),
        (("--from_file", twice, skip, *out), "2 folders with a dataset.json were found"),
    ]:
        assert words in script.refused(*arguments)
        assert not list(tmp_path.glob("deep/*"))
    assert not list(tmp_path.rglob("evil.txt"))
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["x"]
    assert "Got --task liver, expected hippocampus, heart, prostate." in script.refused(*out, "--task", "liver")


def test_an_address_without_an_answer_is_named(tmp_path, script, monkeypatch):
    monkeypatch.setitem(DecathlonDataset.resource, KEY, "http://127.0.0.1:9/a.tar")
    assert "Cannot download http://127.0.0.1:9/a.tar" in script.refused("--out", tmp_path / "msd")
